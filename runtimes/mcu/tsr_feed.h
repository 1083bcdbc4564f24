/* An input that is never whole: its rows go into the network as they arrive on the wire.
 *
 *     request  payload                        reply
 *     'P'      offset 4, data                 'p' bytes of the input taken so far 4
 *     'F'      CRC-32 of the whole input 4    'r' ticks 4, stack bytes used 4
 *
 * Offset 0 starts a new input; data that does not follow what was taken is left, so a request whose
 * reply was lost can be sent again. The ticks are those of all rows, without the waiting. */
#ifndef TSR_FEED_H
#define TSR_FEED_H

#include "tsr_protocol.h"

typedef struct {
    uint32_t rows;
    void (*start)(void);           /* forget the rows pushed so far */
    uint8_t *(*input_row)(void);   /* where the next row goes */
    int (*push_row)(void);         /* take it; 1 after the last */
} tsr_feed;

/* The network's input, defined by the application. */
extern const tsr_feed tsr_input_feed;

/* Answer 'P' and 'F': a tsr_application's more(). */
int tsr_feed_answer(const tsr_application *application, tsr_frame *frame);

#endif
