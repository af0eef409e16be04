/* States of tokens, row by row: embeddings in, layer norms, pooling out. */
#include <string.h>

#include "gemm.h"

void normalise(const model *m, int64_t rows, float *states, const float *gamma,
               const float *beta) {
  /* Past hidden, states, gamma and beta are zeros and stay so; they don't count in the variance. */
  int64_t whole = m->hidden / LANES * LANES;
  for (int64_t row = 0; row < rows; row++, states += m->hidden_stride) {
    vector sum[PARTS] = {0}, squares[PARTS] = {0};
    EACH_PART(i, part, m->hidden) sum[part] += load(states + i);
    vector mean = all(sum_of(sum) / (float)m->hidden);
    EACH_PART(i, part, whole) {
      vector distance = load(states + i) - mean;
      squares[part] += distance * distance;
    }
    if (whole < m->hidden) {
      vector distance = first_lanes(load(states + whole) - mean, m->hidden - whole);
      squares[whole / LANES % PARTS] += distance * distance;
    }
    float variance = sum_of(squares) / (float)m->hidden;
    vector scale = all(1.0f / __builtin_sqrtf(variance + (float)m->epsilon));
    for (int64_t i = 0; i < m->hidden; i += LANES)
      store(states + i, (load(states + i) - mean) * scale * load(gamma + i) + load(beta + i));
  }
}

void look_up(const model *m, int64_t tokens, const int32_t *ids, float *states) {
  int64_t place = m->positions_pad < 0 ? 0 : m->positions_pad + 1;
  for (int64_t row = 0; row < tokens; row++) {
    int is_pad = m->positions_pad >= 0 && ids[row] == m->positions_pad;
    const float *position = m->positions + (is_pad ? m->positions_pad : place) * m->hidden;
    const float *word = m->words + ids[row] * m->hidden;
    float *state = states + row * m->hidden_stride;
    for (int64_t i = 0; i < m->hidden; i++) state[i] = word[i] + position[i];
    for (int64_t i = m->hidden; i < m->hidden_stride; i++) state[i] = 0.0f;
    place += !is_pad;
  }
  normalise(m, tokens, states, m->gamma, m->beta);
}

void pool(const model *m, int64_t tokens, const float *states, float *pooled) {
  size_t size = (size_t)m->hidden * sizeof(float);
  if (tokens == 0) {
    memset(pooled, 0, size);
    return;
  }
  if (m->pooling != MEAN) {
    memcpy(pooled, states + (m->pooling == CLS ? 0 : tokens - 1) * m->hidden_stride, size);
    return;
  }
  memcpy(pooled, states, size);
  for (int64_t row = 1; row < tokens; row++)
    for (int64_t i = 0; i < m->hidden; i++) pooled[i] += states[row * m->hidden_stride + i];
  for (int64_t i = 0; i < m->hidden; i++) pooled[i] /= (float)tokens;
}
