/* Frames of the device protocol (tsr_protocol.h): made field by field, sent, received. */
#ifndef TSR_FRAME_H
#define TSR_FRAME_H

#include <stdint.h>

#define TSR_PAYLOAD 240u
#define TSR_HEAD 2u /* kind and sequence number */

typedef enum {
    TSR_UNKNOWN_REQUEST = 1, /* no such kind, or a payload of the wrong length */
    TSR_OUT_OF_RANGE = 2,    /* no such port, layer or byte */
    TSR_INPUTS_DAMAGED = 3   /* the inputs do not match the checksum: send them again */
} tsr_refusal;

/* A decoded frame; length counts head and payload. */
typedef struct {
    uint8_t bytes[TSR_HEAD + TSR_PAYLOAD + 4u];
    uint32_t length;
} tsr_frame;

/* Start a reply; append the low count bytes of a value; send it. */
void tsr_begin(tsr_frame *f, char kind, uint8_t sequence);
void tsr_put(tsr_frame *f, uint32_t value, uint32_t count);
void tsr_send(tsr_frame *f);

/* Wait for the next intact frame. */
void tsr_receive(tsr_frame *f);

/* Read a little-endian number of count bytes. */
uint32_t tsr_get(const uint8_t *from, uint32_t count);

/* Answer that a request cannot be done. */
void tsr_refuse(tsr_frame *f, tsr_refusal why);

#endif
