/* Four products of 8-bit numbers a lane, added to a 32-bit sum: the one step of an int8 product
 * that instruction sets do in ways of their own. The sums are exact, so all give the same. */
#ifndef EMBED_DOT_INT8_H
#define EMBED_DOT_INT8_H

#include <string.h>

#include "vector.h"

#if defined(__AVX2__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

/* INT8_ROWS: rows of a tile, so that its sums stay in registers. CODE_ZERO: what codes of
 * activations (0 to 255) are stored less by, where the instructions take signed numbers alone. */
#if defined(__AVX512F__)
enum { INT8_ROWS = 8, CODE_ZERO = 0 };
#elif defined(__AVX2__)
enum { INT8_ROWS = 4, CODE_ZERO = 0 };
#else
enum { INT8_ROWS = 8, CODE_ZERO = 128 };
#endif

/* sums[i] += codes[0..3] times weights[4 i .. 4 i + 3].
 * Without VNNI two products are added in 16 bits, which saturate past 32,767: weights are chosen
 * such that neighbours of one sign add up to 128 at most (pack_int8.py), and 255 * 128 fits.
 * Signed codes reach 128 * 127 * 2, which fits for any weights. */
INLINE mask dot(mask sums, const void *codes, mask weights) {
  int32_t four;
  memcpy(&four, codes, sizeof four);
#if defined(__AVX512VNNI__)
  return (mask)_mm512_dpbusd_epi32((__m512i)sums, _mm512_set1_epi32(four), (__m512i)weights);
#elif defined(__AVX512F__)
  __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi32(four), (__m512i)weights);
  return sums + (mask)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(__AVX2__)
  __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(four), (__m256i)weights);
  return sums + (mask)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  return (mask)vdotq_s32((int32x4_t)sums, (int8x16_t)weights,
                         vreinterpretq_s8_s32(vdupq_n_s32(four)));
#else
  int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(four)), b = (int8x16_t)weights;
  int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  int16x8_t high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
  return (mask)vpadalq_s16((int32x4_t)sums, vpaddq_s16(low, high));
#endif
}

#endif
