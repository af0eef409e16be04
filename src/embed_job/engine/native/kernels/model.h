/* What Python hands over, and what the files of this folder call of one another. Python's side of
 * the structs is library.py; sizes in numbers unless said, pointers are never NULL unless said. */
#ifndef EMBED_MODEL_H
#define EMBED_MODEL_H

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* PANEL of vector.h, and row_stride of gemm.h, for Python. */
/* compile.py's digest of the sources: callers of another version must not call what follows. */
EXPORT const char *kernel_sources(void);
EXPORT int64_t panel_columns(void);
EXPORT int64_t spread_columns(int64_t columns);

/* A linear layer, its weights packed for the model's precision. Padded columns have zero weights
 * and bias.
 * panels: fp32 [outputs / PANEL][inputs][PANEL].
 * bias [outputs]. scales, sums: int8's, of each column; NULL for fp32. */
typedef struct {
  int64_t inputs;
  int64_t outputs; /* a multiple of PANEL */
  const void *panels;
  const float *bias;
  const float *scales;
  const int32_t *sums;
} linear;

enum { PLAIN = 0, GELU = 1, RELU = 2 };

/* Where a product goes: column c of row r to
 * out + (c / block) * block_step + r * stride + c % block. block is a multiple of PANEL.
 * residual: laid out as out, may be out, or NULL; it is added after the activation. */
typedef struct {
  float *out;
  int64_t stride, block, block_step;
  const float *residual;
  int64_t activation;
} target;

typedef struct {
  linear qkv;       /* hidden -> query, key and value of each head, head_stride wide each */
  linear attention; /* heads * head_stride -> hidden */
  linear up, down;
  const float *attention_gamma, *attention_beta; /* [hidden_stride], zeros past hidden */
  const float *output_gamma, *output_beta;
} layer;

enum { FP32 = 0, INT8 = 1 };
enum { MEAN = 0, CLS = 1, LAST_TOKEN = 2 };

/* head_stride: head_width up to whole panels. hidden_stride: row_stride of hidden up to whole
 * panels. positions_pad: the token id after which
 * positions count, as RoBERTa's do, or -1 where they count from row 0. relative:
 * [heads][2 * position_rows - 1], what is added to a score by key's place - query's place +
 * position_rows - 1, or NULL. words and positions have rows of hidden numbers. */
typedef struct {
  int64_t precision, pooling, activation;
  int64_t hidden, hidden_stride;
  int64_t heads, head_width, head_stride;
  int64_t layers, chunk_rows, position_rows, positions_pad;
  double epsilon;
  const layer *layer;
  const float *words, *positions;
  const float *gamma, *beta; /* of the embeddings' norm, [hidden_stride] */
  const float *relative;
} model;

/* a [rows, inputs] times w, to where `to` says. a_stride >= w->inputs. */
EXPORT void multiply_fp32(int64_t rows, const float *a, int64_t a_stride, const linear *w,
                          const target *to);

/* A product of rows <= TILE_ROWS and one panel: out = a [rows, depth] times b [depth, PANEL]. */
void multiply_tile(int64_t rows, int64_t depth, const float *a, int64_t a_stride, const float *b,
                   int64_t b_stride, float *out, int64_t out_stride);

/* Attention of one text. qkv: 3 * heads blocks [tokens, head_stride], block_step apart.
 * mixed [tokens, heads * head_stride]. scratch: attention_scratch(m, tokens) numbers. */
EXPORT void attend(const model *m, int64_t tokens, const float *qkv, int64_t block_step,
                   float *mixed, int64_t mixed_stride, float *scratch);
EXPORT int64_t attention_scratch(const model *m, int64_t tokens);

/* Rows to mean 0 and variance 1 over their first hidden numbers, then gamma and beta; in place. */
EXPORT void normalise(const model *m, int64_t rows, float *states, const float *gamma,
                      const float *beta);

/* A text's word and position embeddings, added and normalised: states [tokens, hidden_stride]. */
void look_up(const model *m, int64_t tokens, const int32_t *ids, float *states);

/* One vector of hidden numbers from a text's states; zeros where it has no tokens. */
void pool(const model *m, int64_t tokens, const float *states, float *pooled);

/* Vectors before the head: pooled [texts, hidden]. Text i is ids[offsets[i]] to
 * ids[offsets[i + 1]]; every id is a row of words, no text is longer than the positions reach.
 * workspace: workspace_bytes(m, offsets[texts], tokens of the longest text), 64-byte aligned. */
EXPORT void forward(const model *m, int64_t texts, const int64_t *offsets, const int32_t *ids,
                    float *pooled, void *workspace);
EXPORT int64_t workspace_bytes(const model *m, int64_t tokens, int64_t longest);

#endif
