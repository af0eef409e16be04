/* Softmax(Q K' / sqrt(width) + bias) V of one text, TILE_ROWS queries at a time: their scores stay
 * in the first-level cache. */
#include "gemm.h"

static int64_t up_to_panels(int64_t count) { return (count + PANEL - 1) / PANEL * PANEL; }

int64_t attention_scratch(const model *m, int64_t tokens) {
  int64_t room = up_to_panels(tokens);
  return room * m->head_width + row_stride(room) * TILE_ROWS;
}

/* keys [tokens, head_width] to panels [tokens / PANEL][head_width][PANEL], scaled; zeros past the
 * last key. */
static void pack_keys(const model *m, int64_t tokens, const float *keys, float *panels) {
  float scale = 1.0f / __builtin_sqrtf((float)m->head_width);
  for (int64_t first = 0; first < tokens; first += PANEL, panels += m->head_width * PANEL) {
    int64_t count = tokens - first < PANEL ? tokens - first : PANEL;
    for (int64_t at = 0; at < m->head_width; at++) {
      const float *from = keys + first * m->head_stride + at;
      float *to = panels + at * PANEL;
      for (int64_t i = 0; i < count; i++) to[i] = from[i * m->head_stride] * scale;
      for (int64_t i = count; i < PANEL; i++) to[i] = 0.0f;
    }
  }
}

/* A row's scores to exponentials of their distance from the largest; one over their sum. The row
 * has room up to a whole vector; what lies past its tokens is overwritten.
 * relative: what is added to each score, or NULL. */
static float soften(int64_t tokens, float *row, const float *relative) {
  if (relative)
    for (int64_t i = 0; i < tokens; i++) row[i] += relative[i];
  /* Past the end: e to their power is too small to count in the sum. */
  for (int64_t i = tokens; i % LANES; i++) row[i] = -1e30f;
  vector most = load(row);
  for (int64_t i = LANES; i < tokens; i += LANES) most = larger(most, load(row + i));
  most = all(largest_of(most));
  vector sum[PARTS] = {0};
  EACH_PART(i, part, tokens) {
    vector value = exponential(load(row + i) - most);
    sum[part] += value;
    store(row + i, value);
  }
  return 1.0f / sum_of(sum);
}

static void attend_head(const model *m, int64_t tokens, int64_t head, const float *qkv,
                        int64_t block_step, float *mixed, int64_t mixed_stride, float *scratch) {
  const float *queries = qkv + head * block_step;
  const float *keys = queries + m->heads * block_step;
  const float *values = keys + m->heads * block_step;
  int64_t room = row_stride(up_to_panels(tokens));
  float *panels = scratch, *scores = scratch + up_to_panels(tokens) * m->head_width;
  pack_keys(m, tokens, keys, panels);
  for (int64_t first = 0; first < tokens; first += TILE_ROWS) {
    int64_t count = tokens - first < TILE_ROWS ? tokens - first : TILE_ROWS;
    float inverse[TILE_ROWS];
    for (int64_t key = 0; key < tokens; key += PANEL)
      multiply_tile(count, m->head_width, queries + first * m->head_stride, m->head_stride,
                    panels + key * m->head_width, PANEL, scores + key, room);
    for (int64_t i = 0; i < count; i++) {
      const float *relative = m->relative;
      if (relative)
        relative += head * (2 * m->position_rows - 1) + m->position_rows - 1 - (first + i);
      inverse[i] = soften(tokens, scores + i * room, relative);
    }
    float *out = mixed + first * mixed_stride + head * m->head_stride;
    for (int64_t at = 0; at < m->head_stride; at += PANEL) {
      multiply_tile(count, tokens, scores, room, values + at, m->head_stride, out + at,
                    mixed_stride);
      for (int64_t i = 0; i < count; i++)
        for (int half = 0; half < PANEL; half += LANES) {
          float *place = out + i * mixed_stride + at + half;
          store(place, load(place) * all(inverse[i]));
        }
    }
  }
}

void attend(const model *m, int64_t tokens, const float *qkv, int64_t block_step, float *mixed,
            int64_t mixed_stride, float *scratch) {
  for (int64_t head = 0; head < m->heads; head++)
    attend_head(m, tokens, head, qkv, block_step, mixed, mixed_stride, scratch);
}
