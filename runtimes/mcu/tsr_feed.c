#include "tsr_feed.h"

#include <string.h>

#include "tsr_port.h"

static struct {
    uint32_t taken, crc, ticks;
} input;

static void start(const tsr_application *app)
{
    tsr_input_feed.start();
    memset(&input, 0, sizeof input);
    memset(app->layer_ticks, 0, app->layer_count * sizeof *app->layer_ticks);
    tsr_stack_paint();
}

static void push(void)
{
    const uint32_t since = tsr_ticks();
    tsr_input_feed.push_row();
    input.ticks += tsr_ticks() - since;
}

static void take(const tsr_application *app, const uint8_t *data, uint32_t count)
{
    input.crc = tsr_crc32(input.crc, data, count);
    while (count) {
        const uint32_t at = input.taken % app->row_bytes, left = app->row_bytes - at;
        const uint32_t part = count < left ? count : left;
        memcpy(tsr_input_feed.input_row() + at, data, part);
        input.taken += part;
        data += part;
        count -= part;
        if (part == left) {
            push();
        }
    }
}

static void answer_push(const tsr_application *app, tsr_frame *f)
{
    const uint32_t offset = tsr_get(f->bytes + TSR_HEAD, 4);
    const uint32_t count = f->length - TSR_HEAD - 4u;
    const uint32_t size = tsr_input_feed.rows * app->row_bytes;
    if (f->length < TSR_HEAD + 4u || offset > size || count > size - offset) {
        tsr_refuse(f, TSR_OUT_OF_RANGE);
        return;
    }
    if (offset == 0) {
        start(app);
    }
    if (offset == input.taken) {
        take(app, f->bytes + TSR_HEAD + 4, count);
    }
    tsr_begin(f, 'p', f->bytes[1]);
    tsr_put(f, input.taken, 4);
    tsr_send(f);
}

static void answer_finish(const tsr_application *app, tsr_frame *f)
{
    const int whole = input.taken == tsr_input_feed.rows * app->row_bytes;
    if (f->length != TSR_HEAD + 4u || !whole || input.crc != tsr_get(f->bytes + TSR_HEAD, 4)) {
        tsr_refuse(f, TSR_INPUTS_DAMAGED);
        return;
    }
    tsr_begin(f, 'r', f->bytes[1]);
    tsr_put(f, input.ticks, 4);
    tsr_put(f, tsr_stack_used(), 4);
    tsr_send(f);
}

int tsr_feed_answer(const tsr_application *app, tsr_frame *f)
{
    switch (f->bytes[0]) {
    case 'P': answer_push(app, f); return 1;
    case 'F': answer_finish(app, f); return 1;
    default: return 0;
    }
}
