/* Vectors of floats as wide as the instruction set's registers, in the compiler's own syntax:
 * one source for AVX-512, AVX2 and NEON. Loads and stores need no alignment. */
#ifndef EMBED_VECTOR_H
#define EMBED_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 12 };
#elif defined(__AVX2__)
enum { LANES = 8, TILE_ROWS = 6 };
#else
enum { LANES = 4, TILE_ROWS = 12 };
#endif

/* Columns of a panel. A tile of TILE_ROWS x PANEL sums stays in registers: 24 of 32, 12 of 16. */
enum { PANEL = 2 * LANES };

typedef float vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *from) { return *(const vector *)from; }

INLINE void store(float *to, vector value) { *(vector *)to = value; }

/* The compiler takes a difference from zero for what it is, a broadcast; a sum would change -0. */
INLINE vector all(float value) { return value - (vector){0}; }

INLINE vector choose(mask where, vector yes, vector no) {
  return (vector)((where & (mask)yes) | (~where & (mask)no));
}

/* Like the instructions of that name: where one is NaN, the second operand. */
INLINE vector smaller(vector a, vector b) { return choose(a < b, a, b); }

INLINE vector larger(vector a, vector b) { return choose(a > b, a, b); }

/* A row's sum is made in WHOLE_SUM parts, number i in part i % WHOLE_SUM, which are then added in
 * one order: all instruction sets give the same bits. int8 needs it, where a difference in the last
 * bit grows to a whole step of a code. Loop over rows with EACH_PART. */
enum { WHOLE_SUM = 16, PARTS = WHOLE_SUM / LANES };

/* i: where each vector of a row of count numbers begins; part: the sum that it belongs to. */
#define EACH_PART(i, part, count)                                        \
  for (int64_t base = 0; base < (count); base += WHOLE_SUM)              \
    _Pragma("clang loop unroll(full)") for (int part = 0; part < PARTS; part++) \
      for (int64_t i = base + part * LANES; i < (count); i = (count))

INLINE float sum_of(const vector *parts) {
  float part[WHOLE_SUM];
  for (int i = 0; i < PARTS; i++) store(part + i * LANES, parts[i]);
  for (int width = WHOLE_SUM / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

INLINE float largest_of(vector value) {
  float part[LANES];
  store(part, value);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] = part[i] > part[i + width] ? part[i] : part[i + width];
  return part[0];
}

/* Zero in the lanes from `lanes` on. */
INLINE vector first_lanes(vector value, int64_t lanes) {
  for (int i = 0; i < LANES; i++) value[i] = i < lanes ? value[i] : 0.0f;
  return value;
}

/* e^x for x <= 0, to 2 units in the last place; below -87 it stays at 1.6e-38. NaN gives NaN: the
 * power of two is multiplied in, not added to the exponent's bits.
 * Cody and Waite's reduction, with the polynomial of Cephes' expf. */
INLINE vector exponential(vector x) {
  const vector magic = all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
  x = larger(all(-87.0f), x);
  vector shifted = x * all(1.44269504f) + magic;
  mask power = ((mask)shifted - (mask)magic + 127) << 23;
  vector whole = shifted - magic;
  vector rest = x - whole * all(0.693359375f) + whole * all(2.12194440e-4f);
  vector sum = all(1.9875691500e-4f);
  sum = sum * rest + all(1.3981999507e-3f);
  sum = sum * rest + all(8.3334519073e-3f);
  sum = sum * rest + all(4.1665795894e-2f);
  sum = sum * rest + all(1.6666665459e-1f);
  sum = sum * rest + all(5.0000001201e-1f);
  sum = sum * rest * rest + rest + all(1.0f);
  return sum * (vector)power;
}

/* x (1 + erf(x / sqrt 2)) / 2, with the quotient of polynomials that Eigen takes for erf. */
INLINE vector gelu(vector x) {
  vector z = x * all(0.70710678f);
  z = smaller(larger(all(-4.0f), z), all(4.0f));
  vector square = z * z;
  vector above = all(-2.72614225801306e-10f);
  above = above * square + all(2.77068142495902e-08f);
  above = above * square + all(-2.10102402082508e-06f);
  above = above * square + all(-5.69250639462346e-05f);
  above = above * square + all(-7.34990630326855e-04f);
  above = above * square + all(-2.95459980854025e-03f);
  above = above * square + all(-1.60960333262415e-02f);
  vector below = all(-1.45660718464996e-05f);
  below = below * square + all(-2.13374055278905e-04f);
  below = below * square + all(-1.68282697438203e-03f);
  below = below * square + all(-7.37332916720468e-03f);
  below = below * square + all(-1.42647390514189e-02f);
  vector half = x * all(0.5f);
  return half + half * (z * above / below);
}

#endif
