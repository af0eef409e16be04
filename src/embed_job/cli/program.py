"""Run a command line to its exit code: each kind of failure has one way to be told."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import typer

from embed_job.errors import ExitCode, UserError

_PIPE_CLOSED = 141
"""What a shell reports of a program that SIGPIPE ends."""


def run_program(app: typer.Typer, arguments: Sequence[str], *, name: str) -> int:
    """The exit code of a command line; messages go to standard error.

    A UserError is one message without a traceback; anything unforeseen is a bug of ours.
    """
    try:
        command = typer.main.get_command(app)
        code = command.main(args=list(arguments), prog_name=name, standalone_mode=True)
        sys.stdout.flush()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            return _reader_left()
        code = ended.code
    except BrokenPipeError:
        return _reader_left()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except UserError as error:
        print_error(error)
        return error.exit_code
    except Exception:  # noqa: BLE001 - the program's last resort
        traceback.print_exc()
        print_line("bold red", "This is a bug of embed-job. Please report the lines above.")
        return ExitCode.BUG
    return int(code or 0)


def _reader_left() -> int:
    """Whoever read our output has gone, as `| head` does; the rest goes nowhere."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _PIPE_CLOSED


def print_error(error: UserError) -> None:
    """Where, what and what to do, on standard error."""
    from rich.console import Console
    from rich.text import Text

    text = Text()
    text.append("Error ", style="bold red")
    text.append(f"{error.where}: ", style="bold")
    text.append(f"{_sentence(error.what)}\n")
    if error.hint:
        text.append(error.hint, style="cyan")
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


def print_line(style: str, line: str) -> None:
    """One styled line on standard error."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(line, style=style))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
