/* What a matrix product does with its sums, whatever the precision they were made in. */
#ifndef EMBED_GEMM_H
#define EMBED_GEMM_H

#include "model.h"
#include "vector.h"

INLINE vector activate(vector value, int64_t activation) {
  if (activation == GELU) return gelu(value);
  if (activation == RELU) return choose(value < all(0.0f), all(0.0f), value); /* NaN stays NaN */
  return value;
}

/* Numbers from row to row of a matrix: a tile reads TILE_ROWS rows side by side, and rows that are
 * a multiple of 2 KiB apart would push one another out of the first-level cache. */
INLINE int64_t row_stride(int64_t columns) {
  return columns % 512 ? columns : columns + 16;
}

/* Where row 0 of the panel that begins at a column goes, as a number of floats after out. */
INLINE int64_t place_of(const target *to, int64_t column) {
  return column / to->block * to->block_step + column % to->block;
}

/* Two vectors of sums, bias included, to their place (place_of + row * stride). activation and
 * whether there is a residual may be constants where this is inlined. */
INLINE void finish_as(vector left, vector right, const target *to, int64_t place,
                      int64_t activation, int has_residual) {
  left = activate(left, activation);
  right = activate(right, activation);
  if (has_residual) {
    left += load(to->residual + place);
    right += load(to->residual + place + LANES);
  }
  store(to->out + place, left);
  store(to->out + place + LANES, right);
}

INLINE void finish(vector left, vector right, const target *to, int64_t place) {
  finish_as(left, right, to, place, to->activation, to->residual != 0);
}

/* A tile's sums to their places; the branches lie outside of the loops, so that the sums go from
 * registers straight to memory. */
INLINE void finish_tile(const int rows, const vector *left, const vector *right, const target *to,
                        int64_t place) {
  int64_t step = to->stride;
  if (to->activation == PLAIN && !to->residual) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) finish_as(left[i], right[i], to, place + i * step, PLAIN, 0);
  } else if (to->activation == PLAIN) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) finish_as(left[i], right[i], to, place + i * step, PLAIN, 1);
  } else {
    for (int i = 0; i < rows; i++) finish(left[i], right[i], to, place + i * step);
  }
}

#endif
