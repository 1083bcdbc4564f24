/* A small framed protocol: inputs go in, outputs, ticks per layer and the stack's mark come back.
 *
 * A frame is COBS-coded (S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", 1999) and
 * ends with a zero byte, so a receiver finds the next frame after any noise. Decoded it holds
 *
 *     kind (1)  sequence (1)  payload (0..240)  CRC-32 of all before it (4, little endian)
 *
 * A reply repeats the request's sequence number; all numbers are little endian.
 *
 *     request  payload                                  reply
 *     'I'      - (states are reset)                     'i' version 1, inputs 1, outputs 1,
 *                                                           layers 2, clock 4, stack 4, row 4, hash
 *     'W'      port 1, offset 4, data                   none: the run checks all inputs at once
 *     'R'      CRC-32 of all inputs in order 4          'r' ticks 4, stack bytes used 4
 *     'L'      first layer 2                            'l' first 2, ticks 4 of each layer ...
 *     'O'      port 1, offset 4, count 4                'o' port 1, offset 4, data; repeated
 *     'Q'      status 1                                 none: an emulator ends with the status
 *
 * "row" is 0, or the bytes of a row of the only input, which is then pushed row by row (tsr_feed.h).
 * Anything that cannot be done is answered by 'e' with one byte, a tsr_refusal. */
#ifndef TSR_PROTOCOL_H
#define TSR_PROTOCOL_H

#include <stdint.h>

#include "tsr_frame.h"

#define TSR_PROTOCOL_VERSION 2

/* Memory of an input or output of the network. */
typedef struct {
    uint8_t *data;
    uint32_t bytes;
} tsr_port_memory;

typedef struct tsr_application {
    const char *plan_hash;
    const tsr_port_memory *inputs, *outputs;
    uint8_t input_count, output_count;
    uint16_t layer_count;
    uint32_t *layer_ticks; /* layer_count values, set to zero before each run */
    void (*run)(void);
    void (*reset)(void); /* null if the network has no states; called when a host says hello */
    /* For requests that not every application answers: tells whether it has answered. */
    int (*more)(const struct tsr_application *application, tsr_frame *frame);
    uint32_t row_bytes;
} tsr_application;

/* Continue a CRC-32 (start with 0) over more bytes. */
uint32_t tsr_crc32(uint32_t crc, const void *data, uint32_t count);

/* Answer requests for ever. */
void tsr_serve(const tsr_application *application);

#endif
