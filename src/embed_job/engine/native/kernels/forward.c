/* The whole encoder over a batch without padding: tokens of all texts lie one after the other, and
 * attention alone knows where a text ends. */
#include "gemm.h"
#include "gemm_int8.h"

/* Parts of the workspace. wide lies where qkv does: when it is written, qkv has been read. */
typedef struct {
  float *states, *qkv, *mixed, *wide, *attention;
  void *codes; /* of int8 */
  int64_t mixed_stride, wide_stride, bytes;
} workspace;

const char *kernel_sources(void) { return KERNEL_SOURCES; }

int64_t panel_columns(void) { return PANEL; }

int64_t spread_columns(int64_t columns) { return row_stride(columns); }

static int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* Room for count numbers, from a cache line's beginning. base is NULL where sizes alone matter. */
static float *take(int64_t *at, char *base, int64_t count) {
  float *part = base ? (float *)(base + *at) : 0;
  *at += (count * (int64_t)sizeof(float) + 63) / 64 * 64;
  return part;
}

static workspace lay_out(const model *m, int64_t tokens, int64_t longest, char *base) {
  workspace w = {.codes = 0, .bytes = 0};
  int64_t chunk = tokens < m->chunk_rows ? tokens : m->chunk_rows;
  int64_t mixed = m->heads * m->head_stride;
  w.mixed_stride = row_stride(mixed);
  w.wide_stride = row_stride(m->layer->up.outputs);
  w.states = take(&w.bytes, base, tokens * m->hidden_stride);
  w.mixed = take(&w.bytes, base, tokens * w.mixed_stride);
  w.qkv = take(&w.bytes, base, larger_of(tokens * 3 * mixed, chunk * w.wide_stride));
  w.wide = w.qkv;
  w.attention = take(&w.bytes, base, attention_scratch(m, longest));
  if (m->precision == INT8) {
    int64_t inputs = larger_of(larger_of(m->layer->qkv.inputs, mixed), m->layer->up.outputs);
    int64_t size = multiply_int8_scratch(chunk, inputs); /* in bytes */
    w.codes = take(&w.bytes, base, size / (int64_t)sizeof(float) + 1);
  }
  return w;
}

int64_t workspace_bytes(const model *m, int64_t tokens, int64_t longest) {
  return lay_out(m, tokens, longest, 0).bytes;
}

/* By the precision that the workspace was laid out for. */
static void multiply(const workspace *work, int64_t rows, const float *a, int64_t stride,
                     const linear *w, target to) {
  if (work->codes)
    multiply_int8(rows, a, stride, w, &to, work->codes);
  else
    multiply_fp32(rows, a, stride, w, &to);
}

/* From the mixed values of some rows to the layer's output, in place of its input. */
static void finish_layer(const model *m, const layer *l, int64_t first, int64_t rows,
                         const workspace *w) {
  float *states = w->states + first * m->hidden_stride;
  target add = {states, m->hidden_stride, l->down.outputs, 0, states, PLAIN};
  target widen = {w->wide, w->wide_stride, l->up.outputs, 0, 0, m->activation};
  multiply(w, rows, w->mixed + first * w->mixed_stride, w->mixed_stride, &l->attention, add);
  normalise(m, rows, states, l->attention_gamma, l->attention_beta);
  multiply(w, rows, states, m->hidden_stride, &l->up, widen);
  multiply(w, rows, w->wide, w->wide_stride, &l->down, add);
  normalise(m, rows, states, l->output_gamma, l->output_beta);
}

/* Rows of a chunk: at most chunk_rows, all chunks of nearly one size, in whole tiles. */
static int64_t rows_of_chunk(const model *m, int64_t tokens) {
  int64_t chunks = (tokens + m->chunk_rows - 1) / m->chunk_rows;
  int64_t rows = (tokens + chunks - 1) / chunks;
  rows = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
  return rows < m->chunk_rows ? rows : m->chunk_rows;
}

static void run_layer(const model *m, const layer *l, int64_t texts, const int64_t *offsets,
                      const workspace *w) {
  int64_t tokens = offsets[texts], chunk = rows_of_chunk(m, tokens);
  int64_t width = m->head_stride, step = tokens * width;
  for (int64_t first = 0; first < tokens; first += chunk) {
    int64_t rows = tokens - first < chunk ? tokens - first : chunk;
    target split = {w->qkv + first * width, width, width, step, 0, PLAIN};
    multiply(w, rows, w->states + first * m->hidden_stride, m->hidden_stride, &l->qkv, split);
  }
  for (int64_t text = 0; text < texts; text++) {
    int64_t first = offsets[text];
    attend(m, offsets[text + 1] - first, w->qkv + first * width, step,
           w->mixed + first * w->mixed_stride, w->mixed_stride, w->attention);
  }
  for (int64_t first = 0; first < tokens; first += chunk)
    finish_layer(m, l, first, tokens - first < chunk ? tokens - first : chunk, w);
}

void forward(const model *m, int64_t texts, const int64_t *offsets, const int32_t *ids,
             float *pooled, void *base) {
  int64_t longest = 0, tokens = offsets[texts];
  for (int64_t text = 0; text < texts; text++)
    longest = larger_of(longest, offsets[text + 1] - offsets[text]);
  if (tokens > 0) {
    workspace w = lay_out(m, tokens, longest, base);
    for (int64_t text = 0; text < texts; text++)
      look_up(m, offsets[text + 1] - offsets[text], ids + offsets[text],
              w.states + offsets[text] * m->hidden_stride);
    for (int64_t number = 0; number < m->layers; number++)
      run_layer(m, m->layer + number, texts, offsets, &w);
  }
  for (int64_t text = 0; text < texts; text++)
    pool(m, offsets[text + 1] - offsets[text],
         (const float *)base + offsets[text] * m->hidden_stride, pooled + text * m->hidden);
}
