/* Matrix products in 8-bit integers: weights by column, activations by row as they come. A row x
 * becomes codes 0 to 255, x = scale * (code - zero); zero is a whole number, so that 0.0 is exact.
 * The sums are exact in 32 bits. The scheme is named in pack_int8.py. */
#include "gemm_int8.h"

#include "dot_int8.h"
#include "gemm.h"

typedef uint8_t code_vector __attribute__((vector_size(LANES), aligned(1), may_alias));

/* A chunk's rows as codes [rows][stride]. */
typedef struct {
  float *scales;
  int32_t *zeros;
  uint8_t *codes;
  int64_t stride;
} coded;

/* An odd number of cache lines from row to row for the usual widths: rows of a tile don't push one
 * another out of the first-level cache. */
static int64_t code_stride(int64_t inputs) { return inputs + 64; }

int64_t multiply_int8_scratch(int64_t rows, int64_t inputs) {
  return rows * (int64_t)(sizeof(float) + sizeof(int32_t)) + rows * code_stride(inputs);
}

static coded lay_out_codes(int64_t rows, int64_t inputs, void *scratch) {
  float *scales = scratch;
  int32_t *zeros = (int32_t *)(scales + rows);
  return (coded){scales, zeros, (uint8_t *)(zeros + rows), code_stride(inputs)};
}

INLINE mask rounded(vector value) {
  return __builtin_convertvector(__builtin_elementwise_roundeven(value), mask);
}

/* Rounds x * inverse as a float, half to even: no instruction set fuses that product with a sum. */
static void encode_row(int64_t inputs, const float *x, uint8_t *codes, float *scale,
                       int32_t *zero) {
  vector least = all(0.0f), most = all(0.0f), poison = all(0.0f);
  for (int64_t i = 0; i < inputs; i += LANES) {
    vector value = load(x + i);
    least = smaller(value, least);
    most = larger(value, most);
    poison += value * all(0.0f); /* NaN and infinity must not vanish in the codes */
  }
  float low = -largest_of(-least), range = largest_of(most) - low;
  float inverse = range > 1e-30f ? 255.0f / range : 0.0f;
  *scale = range / 255.0f;
  for (int i = 0; i < LANES; i++) *scale += poison[i];
  mask lowest = rounded(all(low * inverse));
  *zero = -lowest[0] - CODE_ZERO;
  for (int64_t i = 0; i < inputs; i += LANES) {
    mask code = rounded(load(x + i) * all(inverse)) - lowest;
    code = (mask)choose(code > 255, (vector)((mask){0} + 255), (vector)code) - CODE_ZERO;
    *(code_vector *)(codes + i) = __builtin_convertvector(code, code_vector);
  }
}

static coded encode(int64_t rows, int64_t inputs, const float *a, int64_t a_stride,
                    void *scratch) {
  coded to = lay_out_codes(rows, inputs, scratch);
  for (int64_t row = 0; row < rows; row++)
    encode_row(inputs, a + row * a_stride, to.codes + row * to.stride, to.scales + row,
               to.zeros + row);
  return to;
}

INLINE vector decode(mask sums, mask column_sums, int32_t zero, vector scale) {
  return __builtin_convertvector(sums - column_sums * zero, vector) * scale;
}

/* rows is a constant wherever this is inlined: without that, the sums would live in memory. */
INLINE void multiply_codes(const int rows, const coded *a, int64_t row, const linear *w,
                           int64_t column, const target *to, int64_t place) {
  const int8_t *panel = (const int8_t *)w->panels + column * w->inputs;
  const uint8_t *codes = a->codes + row * a->stride;
  mask left[INT8_ROWS], right[INT8_ROWS];
  for (int i = 0; i < rows; i++) left[i] = right[i] = (mask){0};
  for (int64_t k = 0; k < w->inputs; k += 4, panel += 4 * PANEL) {
    mask b0 = *(const mask *)panel, b1 = *(const mask *)(panel + 4 * LANES);
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
      left[i] = dot(left[i], codes + i * a->stride + k, b0);
      right[i] = dot(right[i], codes + i * a->stride + k, b1);
    }
  }
  const int32_t *sums = w->sums + column;
  const float *scales = w->scales + column, *bias = w->bias + column;
  vector x[INT8_ROWS], y[INT8_ROWS];
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++) {
    int32_t zero = a->zeros[row + i];
    vector scale = all(a->scales[row + i]);
    x[i] = decode(left[i], *(const mask *)sums, zero, scale * load(scales)) + load(bias);
    y[i] = decode(right[i], *(const mask *)(sums + LANES), zero, scale * load(scales + LANES)) +
           load(bias + LANES);
  }
  finish_tile(rows, x, y, to, place);
}

typedef void tile(const coded *a, int64_t row, const linear *w, int64_t column, const target *to,
                  int64_t place);

#define TILE(ROWS)                                                                          \
  static void tile_##ROWS(const coded *a, int64_t row, const linear *w, int64_t column,     \
                          const target *to, int64_t place) {                                \
    multiply_codes(ROWS, a, row, w, column, to, place);                                     \
  }

TILE(1) TILE(2) TILE(3) TILE(4)
#if defined(__AVX512F__) || !defined(__AVX2__)
TILE(5) TILE(6) TILE(7) TILE(8)
static tile *const tiles[] = {0, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8};
#else
static tile *const tiles[] = {0, tile_1, tile_2, tile_3, tile_4};
#endif

void multiply_int8(int64_t rows, const float *a, int64_t a_stride, const linear *w,
                   const target *to, void *scratch) {
  coded from = encode(rows, w->inputs, a, a_stride, scratch);
  for (int64_t column = 0; column < w->outputs; column += PANEL) {
    int64_t place = place_of(to, column);
    for (int64_t row = 0; row < rows; row += INT8_ROWS) {
      int64_t count = rows - row < INT8_ROWS ? rows - row : INT8_ROWS;
      tiles[count](&from, row, w, column, to, place + row * to->stride);
    }
  }
}
