#include "tsr_protocol.h"

#include <string.h>

#include "tsr_port.h"

#define LAYERS_PER_FRAME ((TSR_PAYLOAD - 2u) / 4u)

static void answer_info(const tsr_application *app, tsr_frame *f)
{
    if (app->reset) {
        app->reset();
    }
    tsr_begin(f, 'i', f->bytes[1]);
    tsr_put(f, TSR_PROTOCOL_VERSION, 1);
    tsr_put(f, app->input_count, 1);
    tsr_put(f, app->output_count, 1);
    tsr_put(f, app->layer_count, 2);
    tsr_put(f, TSR_CLOCK_HZ, 4);
    tsr_put(f, TSR_STACK_BYTES, 4);
    tsr_put(f, app->row_bytes, 4);
    for (const char *c = app->plan_hash; *c; c++) {
        tsr_put(f, (uint8_t)*c, 1);
    }
    tsr_send(f);
}

static void take_input(const tsr_application *app, tsr_frame *f)
{
    if (f->length < TSR_HEAD + 5u || f->bytes[TSR_HEAD] >= app->input_count) {
        return; /* noticed by the checksum of the run */
    }
    const tsr_port_memory *port = &app->inputs[f->bytes[TSR_HEAD]];
    const uint32_t offset = tsr_get(f->bytes + TSR_HEAD + 1, 4);
    const uint32_t count = f->length - TSR_HEAD - 5u;
    if (offset <= port->bytes && count <= port->bytes - offset) {
        memcpy(port->data + offset, f->bytes + TSR_HEAD + 5, count);
    }
}

static void answer_run(const tsr_application *app, tsr_frame *f)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < app->input_count; i++) {
        crc = tsr_crc32(crc, app->inputs[i].data, app->inputs[i].bytes);
    }
    if (f->length != TSR_HEAD + 4u || crc != tsr_get(f->bytes + TSR_HEAD, 4)) {
        tsr_refuse(f, TSR_INPUTS_DAMAGED);
        return;
    }
    memset(app->layer_ticks, 0, app->layer_count * sizeof *app->layer_ticks);
    tsr_stack_paint();
    const uint32_t start = tsr_ticks();
    app->run();
    const uint32_t ticks = tsr_ticks() - start;
    tsr_begin(f, 'r', f->bytes[1]);
    tsr_put(f, ticks, 4);
    tsr_put(f, tsr_stack_used(), 4);
    tsr_send(f);
}

static void answer_layers(const tsr_application *app, tsr_frame *f)
{
    const uint32_t first = tsr_get(f->bytes + TSR_HEAD, 2);
    if (f->length != TSR_HEAD + 2u || first >= app->layer_count) {
        tsr_refuse(f, TSR_OUT_OF_RANGE);
        return;
    }
    tsr_begin(f, 'l', f->bytes[1]);
    tsr_put(f, first, 2);
    for (uint32_t i = first; i < app->layer_count && i < first + LAYERS_PER_FRAME; i++) {
        tsr_put(f, app->layer_ticks[i], 4);
    }
    tsr_send(f);
}

static void answer_output(const tsr_application *app, tsr_frame *f)
{
    const uint8_t port = f->bytes[TSR_HEAD];
    uint32_t offset = tsr_get(f->bytes + TSR_HEAD + 1, 4);
    const uint32_t count = tsr_get(f->bytes + TSR_HEAD + 5, 4);
    if (f->length != TSR_HEAD + 9u || port >= app->output_count ||
        offset > app->outputs[port].bytes || count > app->outputs[port].bytes - offset) {
        tsr_refuse(f, TSR_OUT_OF_RANGE);
        return;
    }
    for (const uint32_t end = offset + count; offset < end;) {
        const uint32_t part = end - offset < TSR_PAYLOAD - 5u ? end - offset : TSR_PAYLOAD - 5u;
        tsr_begin(f, 'o', f->bytes[1]);
        tsr_put(f, port, 1);
        tsr_put(f, offset, 4);
        memcpy(f->bytes + f->length, app->outputs[port].data + offset, part);
        f->length += part;
        tsr_send(f);
        offset += part;
    }
}

void tsr_serve(const tsr_application *app)
{
    static tsr_frame f;
    for (;;) {
        tsr_receive(&f);
        switch (f.bytes[0]) {
        case 'I': answer_info(app, &f); break;
        case 'W': take_input(app, &f); break;
        case 'R': answer_run(app, &f); break;
        case 'L': answer_layers(app, &f); break;
        case 'O': answer_output(app, &f); break;
#ifdef TSR_SEMIHOSTING
        case 'Q': tsr_exit(f.bytes[TSR_HEAD]);
#endif
        default:
            if (!app->more || !app->more(app, &f)) {
                tsr_refuse(&f, TSR_UNKNOWN_REQUEST);
            }
        }
    }
}
