/* Block floating point: rows of numbers in blocks of 16 that share an exponent. A row is a byte of
 * exponent per block, then the mantissas as one stream of bits, two's complement, lowest bit first.
 * The byte is that of the float which is the value of a mantissa's last bit; 0: all zeros. */
#ifndef TESSERA_BLOCKS_H
#define TESSERA_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

enum { BLOCK_SIZE = 16, BLOCK_SLACK = 16 };

/* Bytes of a row. */
size_t block_row_bytes(size_t size, int32_t bits);

/* Round a row to mantissas of `bits`, 4 to 8; its number i is row[order[i]]. */
void block_encode(const float *row, const int32_t *order, size_t size, int32_t bits, uint8_t *out);

/* Read rows that lie one after another back; BLOCK_SLACK bytes after the last may be read. */
void block_decode(const uint8_t *rows, size_t count, size_t size, int32_t bits, float *out);

#endif
