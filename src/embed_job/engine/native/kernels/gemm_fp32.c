/* Matrix products in fp32. The weights lie in panels of PANEL columns, so that a tile reads them
 * in order; a tile's sums stay in registers over the whole depth (Goto and van de Geijn, "Anatomy
 * of high-performance matrix multiplication", 2008, without blocking of the depth: a chunk's rows
 * stay in the second-level cache, and panels of these models are small). */
#include "gemm.h"

/* How far ahead of its use a panel is fetched: it comes from the second-level cache or from further
 * away. Past a panel's end lies the next one, and a fetch past the last one does nothing. */
enum { ROWS_AHEAD = 32 };

/* rows is a constant wherever this is inlined: without that, the sums would live in memory. */
INLINE void sum_tile(const int rows, int64_t depth, const float *a, int64_t a_stride,
                     const float *b, int64_t b_stride, vector *left, vector *right) {
  for (int64_t k = 0; k < depth; k++, b += b_stride) {
    vector b0 = load(b), b1 = load(b + LANES);
    __builtin_prefetch(b + ROWS_AHEAD * PANEL);
    __builtin_prefetch(b + ROWS_AHEAD * PANEL + LANES);
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
      vector value = all(a[i * a_stride + k]);
      left[i] += value * b0;
      right[i] += value * b1;
    }
  }
}

typedef void tile_of_layer(int64_t depth, const float *a, int64_t a_stride, const float *panel,
                           const float *bias, const target *to, int64_t place);
typedef void tile_plain(int64_t depth, const float *a, int64_t a_stride, const float *b,
                        int64_t b_stride, float *out, int64_t out_stride);

#define TILES(ROWS)                                                                            \
  static void layer_##ROWS(int64_t depth, const float *a, int64_t a_stride, const float *panel, \
                           const float *bias, const target *to, int64_t place) {               \
    vector left[ROWS], right[ROWS];                                                            \
    for (int i = 0; i < ROWS; i++) left[i] = load(bias), right[i] = load(bias + LANES);        \
    sum_tile(ROWS, depth, a, a_stride, panel, PANEL, left, right);                             \
    finish_tile(ROWS, left, right, to, place);                                                 \
  }                                                                                            \
  static void plain_##ROWS(int64_t depth, const float *a, int64_t a_stride, const float *b,    \
                           int64_t b_stride, float *out, int64_t out_stride) {                 \
    vector left[ROWS], right[ROWS];                                                            \
    for (int i = 0; i < ROWS; i++) left[i] = right[i] = all(0.0f);                             \
    sum_tile(ROWS, depth, a, a_stride, b, b_stride, left, right);                              \
    for (int i = 0; i < ROWS; i++) {                                                           \
      store(out + i * out_stride, left[i]);                                                    \
      store(out + i * out_stride + LANES, right[i]);                                           \
    }                                                                                          \
  }

TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if defined(__AVX512F__) || !defined(__AVX2__)
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12)
#define LARGE_TILES(KIND) , KIND##_7, KIND##_8, KIND##_9, KIND##_10, KIND##_11, KIND##_12
#else
#define LARGE_TILES(KIND)
#endif

#define TABLE(KIND) \
  {0, KIND##_1, KIND##_2, KIND##_3, KIND##_4, KIND##_5, KIND##_6 LARGE_TILES(KIND)}

static tile_of_layer *const layer_tiles[TILE_ROWS + 1] = TABLE(layer);
static tile_plain *const plain_tiles[TILE_ROWS + 1] = TABLE(plain);

void multiply_fp32(int64_t rows, const float *a, int64_t a_stride, const linear *w,
                   const target *to) {
  const float *panel = w->panels;
  for (int64_t column = 0; column < w->outputs; column += PANEL, panel += w->inputs * PANEL) {
    int64_t place = place_of(to, column);
    for (int64_t row = 0; row < rows; row += TILE_ROWS) {
      int64_t count = rows - row < TILE_ROWS ? rows - row : TILE_ROWS;
      layer_tiles[count](w->inputs, a + row * a_stride, a_stride, panel, w->bias + column, to,
                         place + row * to->stride);
    }
  }
}

void multiply_tile(int64_t rows, int64_t depth, const float *a, int64_t a_stride, const float *b,
                   int64_t b_stride, float *out, int64_t out_stride) {
  plain_tiles[rows](depth, a, a_stride, b, b_stride, out, out_stride);
}
