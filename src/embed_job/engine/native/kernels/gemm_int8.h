/* Products of linear layers whose weights are 8-bit integers (model.h's linear):
 * panels [outputs / PANEL][inputs / 4][PANEL][4], int8. A column's weight is scales times the
 * integer, sums is the sum of its integers. inputs is a multiple of PANEL. */
#ifndef EMBED_GEMM_INT8_H
#define EMBED_GEMM_INT8_H

#include "model.h"

/* As multiply_fp32. Each row is made codes of its own, so that no row changes another's result.
 * scratch: multiply_int8_scratch(rows, w->inputs) bytes, 4-byte aligned. */
EXPORT void multiply_int8(int64_t rows, const float *a, int64_t a_stride, const linear *w,
                          const target *to, void *scratch);
EXPORT int64_t multiply_int8_scratch(int64_t rows, int64_t inputs);

#endif
