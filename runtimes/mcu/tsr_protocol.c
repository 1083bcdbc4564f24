#include "tsr_protocol.h"

#include <string.h>

#include "tsr_port.h"

#define PAYLOAD 240u
#define HEAD 2u
#define CHECK 4u
#define LAYERS_PER_FRAME ((PAYLOAD - 2u) / 4u)

typedef struct {
    uint8_t bytes[HEAD + PAYLOAD + CHECK];
    uint32_t length;
} frame;

static uint32_t crc_next(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    crc ^= byte;
    crc = (crc >> 4) ^ table[crc & 15u];
    return (crc >> 4) ^ table[crc & 15u];
}

uint32_t tsr_crc32(uint32_t crc, const void *data, uint32_t count)
{
    const uint8_t *byte = data;
    crc = ~crc;
    while (count--) {
        crc = crc_next(crc, *byte++);
    }
    return ~crc;
}

static uint32_t get(const uint8_t *from, uint32_t count)
{
    uint32_t value = 0;
    while (count--) {
        value = value << 8 | from[count];
    }
    return value;
}

static void put(frame *f, uint32_t value, uint32_t count)
{
    for (; count--; value >>= 8) {
        f->bytes[f->length++] = (uint8_t)value;
    }
}

static void begin(frame *f, char kind, uint8_t sequence)
{
    f->bytes[0] = (uint8_t)kind;
    f->bytes[1] = sequence;
    f->length = HEAD;
}

static void send(frame *f)
{
    put(f, tsr_crc32(0, f->bytes, f->length), CHECK);
    for (uint32_t from = 0; from <= f->length;) {
        uint32_t to = from;
        while (to < f->length && f->bytes[to]) {
            to++;
        }
        tsr_putc((uint8_t)(to - from + 1u)); /* below 255: a frame is shorter than a full block */
        for (; from < to; from++) {
            tsr_putc(f->bytes[from]);
        }
        from++;
    }
    tsr_putc(0);
}

/* Wait for the next intact frame; the sum is kept byte by byte, so that no time is lost between
 * frames that follow each other closely. */
static void receive(frame *f)
{
    for (;;) {
        uint32_t length = 0, crc = 0xFFFFFFFFu;
        uint32_t left = tsr_getc();
        int sound = 1;
        for (uint32_t byte; left && (byte = tsr_getc()) != 0;) {
            if (--left == 0) {
                left = byte;
                byte = 0;
            }
            if (length >= sizeof f->bytes) {
                sound = 0;
                length = 0;
            }
            f->bytes[length++] = (uint8_t)byte;
            crc = crc_next(crc, (uint8_t)byte);
        }
        if (sound && left == 1 && length >= HEAD + CHECK && crc == 0xDEBB20E3u) {
            f->length = length - CHECK;
            return;
        }
    }
}

static void refuse(frame *f, tsr_refusal why)
{
    begin(f, 'e', f->bytes[1]);
    put(f, (uint32_t)why, 1);
    send(f);
}

static void answer_info(const tsr_application *app, frame *f)
{
    if (app->reset) {
        app->reset();
    }
    begin(f, 'i', f->bytes[1]);
    put(f, TSR_PROTOCOL_VERSION, 1);
    put(f, app->input_count, 1);
    put(f, app->output_count, 1);
    put(f, app->layer_count, 2);
    put(f, TSR_CLOCK_HZ, 4);
    put(f, TSR_STACK_BYTES, 4);
    for (const char *c = app->plan_hash; *c; c++) {
        put(f, (uint8_t)*c, 1);
    }
    send(f);
}

static void take_input(const tsr_application *app, frame *f)
{
    if (f->length < HEAD + 5u || f->bytes[HEAD] >= app->input_count) {
        return; /* noticed by the checksum of the run */
    }
    const tsr_port_memory *port = &app->inputs[f->bytes[HEAD]];
    const uint32_t offset = get(f->bytes + HEAD + 1, 4);
    const uint32_t count = f->length - HEAD - 5u;
    if (offset <= port->bytes && count <= port->bytes - offset) {
        memcpy(port->data + offset, f->bytes + HEAD + 5, count);
    }
}

static void answer_run(const tsr_application *app, frame *f)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < app->input_count; i++) {
        crc = tsr_crc32(crc, app->inputs[i].data, app->inputs[i].bytes);
    }
    if (f->length != HEAD + 4u || crc != get(f->bytes + HEAD, 4)) {
        refuse(f, TSR_INPUTS_DAMAGED);
        return;
    }
    memset(app->layer_ticks, 0, app->layer_count * sizeof *app->layer_ticks);
    tsr_stack_paint();
    const uint32_t start = tsr_ticks();
    app->run();
    const uint32_t ticks = tsr_ticks() - start;
    begin(f, 'r', f->bytes[1]);
    put(f, ticks, 4);
    put(f, tsr_stack_used(), 4);
    send(f);
}

static void answer_layers(const tsr_application *app, frame *f)
{
    const uint32_t first = get(f->bytes + HEAD, 2);
    if (f->length != HEAD + 2u || first >= app->layer_count) {
        refuse(f, TSR_OUT_OF_RANGE);
        return;
    }
    begin(f, 'l', f->bytes[1]);
    put(f, first, 2);
    for (uint32_t i = first; i < app->layer_count && i < first + LAYERS_PER_FRAME; i++) {
        put(f, app->layer_ticks[i], 4);
    }
    send(f);
}

static void answer_output(const tsr_application *app, frame *f)
{
    const uint8_t port = f->bytes[HEAD];
    uint32_t offset = get(f->bytes + HEAD + 1, 4);
    const uint32_t count = get(f->bytes + HEAD + 5, 4);
    if (f->length != HEAD + 9u || port >= app->output_count ||
        offset > app->outputs[port].bytes || count > app->outputs[port].bytes - offset) {
        refuse(f, TSR_OUT_OF_RANGE);
        return;
    }
    for (const uint32_t end = offset + count; offset < end;) {
        const uint32_t part = end - offset < PAYLOAD - 5u ? end - offset : PAYLOAD - 5u;
        begin(f, 'o', f->bytes[1]);
        put(f, port, 1);
        put(f, offset, 4);
        memcpy(f->bytes + f->length, app->outputs[port].data + offset, part);
        f->length += part;
        send(f);
        offset += part;
    }
}

void tsr_serve(const tsr_application *app)
{
    static frame f;
    for (;;) {
        receive(&f);
        switch (f.bytes[0]) {
        case 'I': answer_info(app, &f); break;
        case 'W': take_input(app, &f); break;
        case 'R': answer_run(app, &f); break;
        case 'L': answer_layers(app, &f); break;
        case 'O': answer_output(app, &f); break;
#ifdef TSR_SEMIHOSTING
        case 'Q': tsr_exit(f.bytes[HEAD]);
#endif
        default: refuse(&f, TSR_UNKNOWN_REQUEST); break;
        }
    }
}
