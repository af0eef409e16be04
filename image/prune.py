"""What the image's libraries carry that the job never loads: ``prune.py FOLDER [--check]``.

FOLDER holds the distributions as ``pip install --target`` leaves them. Prints what each entry of
the list freed. With --check nothing is removed, and what is still there is an error. Standard
library only: it runs before anything is installed.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

PRUNED = (
    # The large ones
    ("pyarrow/libarrow_flight.so*", "Arrow over gRPC; gRPC and its TLS are linked into it"),
    ("pyarrow/*flight*", "its Python side"),
    ("pyarrow/libarrow_s3.so*", "Arrow's own S3 client and the AWS SDK in it; boto3 is ours"),
    ("pyarrow/_s3fs.*", "its Python side; pyarrow.fs goes on without it"),
    ("pyarrow/libarrow_python*.so", "a copy under another name; libraries ask for .so.<version>"),
    ("pyarrow/libarrow_python*.so.*.*.*", "likewise"),
    ("onnxruntime/capi/libonnxruntime.so.*", "for C programs; Python's module holds it again"),
    ("botocore/data/*/", "models of services never called; see KEPT"),
    # Parts of libraries that only other programs use
    ("pyarrow/_substrait*", "query plans of other engines"),
    ("pyarrow/substrait.py", "its Python side"),
    ("pyarrow/*orc*", "another file format"),
    ("pyarrow/*gandiva*", "compiled expressions"),
    ("pyarrow/*cuda*", "Arrow on a GPU"),
    ("pyarrow/*parquet_encryption*", "encrypted Parquet"),
    ("pyarrow/_dataset*", "datasets of many files; splits are read one file at a time"),
    ("pyarrow/_acero*", "the query engine under datasets"),
    ("pyarrow/_feather*", "another file format"),
    ("pyarrow/_gcsfs*", "another cloud"),
    ("pyarrow/_azurefs*", "another cloud"),
    ("pyarrow/_hdfs*", "another file system"),
    ("pyarrow/_pyarrow_cpp_tests*", "tests"),
    ("pyarrow/include/", "C++ headers"),
    ("pyarrow/includes/", "Cython headers"),
    ("pyarrow/src/", "C++ sources"),
    ("onnxruntime/transformers/", "rewriting models; the bundle is finished"),
    ("onnxruntime/quantization/", "likewise; needs onnx, which is not here"),
    ("onnxruntime/tools/", "likewise"),
    ("onnxruntime/backend/", "the onnx package's interface"),
    ("onnxruntime/datasets/", "examples"),
    ("onnxruntime/capi/training/", "training"),
    ("numpy/f2py/", "Fortran wrappers; needs a compiler"),
    ("numpy/distutils/", "building extensions"),
    ("numpy/_pyinstaller/", "freezing programs"),
    ("numpy/_core/include/", "C headers"),
    ("numpy/_core/_simd.*", "tests of its vector instructions"),
    ("numpy/_core/*_tests.*", "tests"),
    ("tokenizers/tools/", "a visualiser for notebooks"),
    ("boto3/data/*/", "resources; only clients are used"),
    ("boto3/examples/", "examples"),
    # Everywhere
    ("bin/", "programs such as f2py"),
    ("**/tests/", "tests"),
    ("**/*.a", "static libraries"),
    ("**/*.pyi", "types for editors"),
    ("**/*.pyx", "Cython sources"),
    ("**/*.pxd", "Cython sources"),
    ("**/*.pxi", "Cython sources"),
)
"""Pattern below the folder and the reason it is not needed; a pattern ending in / is a folder."""

KEPT = {
    "botocore/data/s3": "the input and the output",
    "botocore/data/sts": "a role to assume, or a web identity's",
    "botocore/data/sso": "a person's profile, mounted for a run on a laptop",
    "botocore/data/sso-oidc": "likewise",
    "botocore/data/signin": "likewise",
    "botocore/data/secretsmanager": "OpenSearch passwords, by ARN",
    "boto3/data/s3": "boto3's own transfers load it",
}
"""What stays although a pattern covers it, and why."""


def excess(root: Path, pattern: str) -> Iterator[Path]:
    """What a pattern finds below root, without what is kept."""
    for path in sorted(root.glob(pattern.removesuffix("/"))):
        if pattern.endswith("/") and not path.is_dir():
            continue
        if path.relative_to(root).as_posix() not in KEPT:
            yield path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


def prune(root: Path) -> None:
    """Remove what the list names and print what it came to."""
    before = size_of(root)
    for pattern, reason in PRUNED:
        freed = 0
        for path in excess(root, pattern):
            freed += size_of(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        print(f"{freed / 1e6:8.2f} MB  {pattern:40} {reason}")
    after = size_of(root)
    print(f"{before / 1e6:8.2f} MB before, {after / 1e6:.2f} MB after")


def check(root: Path) -> int:
    """Exit code 1 where something on the list is still there, or something kept is not."""
    left = [path for pattern, _ in PRUNED for path in excess(root, pattern)]
    lost = [name for name in KEPT if not (root / name).exists()]
    for path in left:
        print(f"still there: {path}")
    for name in lost:
        print(f"gone: {name}")
    return 1 if left or lost else 0


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if not (folder / "numpy").is_dir():
        sys.exit(f"{folder} holds no installed libraries")
    if "--check" in sys.argv[2:]:
        sys.exit(check(folder))
    prune(folder)
