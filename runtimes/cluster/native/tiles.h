/* Weights in tiles of 16 rows x 32 columns, activations quantised in groups of 32 columns.
 *
 * A tile of 4-bit weights is 288 bytes: 16 fp16 scales, one per row, then four 64-byte vectors.
 * Byte 4r+i of vector j belongs to row r; its low nibble is column 8j+i, its high nibble column
 * 8j+4+i. Nibbles are unsigned with zero point 8.
 * A tile of 8-bit weights is 544 bytes: 16 fp16 scales, then eight 64-byte vectors; byte 4r+i of
 * vector j is row r, column 4j+i, stored plus 128, the value within -127..127.
 * A tile of float32 weights is 2048 bytes, column by column.
 * Tiles of 16 rows follow each other along the columns, so memory is read strictly forward, and a
 * 512-, 256- or 128-bit load holds 16, 8 or 4 rows in 32-bit lanes: one layout for all machines.
 *
 * All implementations give the same bits: integers are exact, and per row and group there is one
 * rounded product of scales and one fused multiply-add, groups in order.
 */
#ifndef TESSERA_TILES_H
#define TESSERA_TILES_H

#include <stddef.h>
#include <stdint.h>

enum { TILE_ROWS = 16, TILE_COLUMNS = 32, TILE_BATCH = 8 };
enum { TILE_BYTES_I4 = 288, TILE_BYTES_I8 = 544, TILE_BYTES_F32 = 2048 };

/* Activations of several positions. */
struct columns {
    int32_t groups;       /* columns / 32, rounded up; padding is zero */
    int8_t *values;       /* (n, groups * 32) */
    float *scales;        /* (n, groups) */
    int32_t *sums;        /* (n, groups) sum of the group's values */
    float *plain;         /* (n, groups * 32), for float32 tiles instead of the above */
};

/* Products of one row of tiles with positions first .. first+n-1, n <= TILE_BATCH: out (n, 16). */
void tile_row_i4(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n,
                 float *out);
void tile_row_i8(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n,
                 float *out);
void tile_row_f32(const uint8_t *tile, const struct columns *x, int32_t first, int32_t n,
                  float *out);

/* Order-free product of float32 tiles with one position: each product rounded to 2^-24. out (16,) */
void tile_row_fixed(const uint8_t *tile, const struct columns *x, int32_t position, int64_t *out);

/* Turn a body with a constant batch into a function of a variable one, so that its sums stay in
 * registers. */
#define TILE_SPECIALISE(body)                                                        \
    switch (n) {                                                                     \
    case 1: body(tile, x, first, 1, out); break;                                     \
    case 2: body(tile, x, first, 2, out); break;                                     \
    case 3: body(tile, x, first, 3, out); break;                                     \
    case 4: body(tile, x, first, 4, out); break;                                     \
    case 5: body(tile, x, first, 5, out); break;                                     \
    case 6: body(tile, x, first, 6, out); break;                                     \
    case 7: body(tile, x, first, 7, out); break;                                     \
    default: body(tile, x, first, 8, out); break;                                    \
    }

/* A loop over the batch that unrolls once the batch is constant. */
#define EACH_POSITION(c) _Pragma("GCC unroll 8") for (int32_t c = 0; c < n; c++)

#define TILE_INLINE static inline __attribute__((always_inline))

#endif
