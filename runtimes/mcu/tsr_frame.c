#include "tsr_frame.h"

#include "tsr_port.h"
#include "tsr_protocol.h"

#define CHECK 4u

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

uint32_t tsr_get(const uint8_t *from, uint32_t count)
{
    uint32_t value = 0;
    while (count--) {
        value = value << 8 | from[count];
    }
    return value;
}

void tsr_put(tsr_frame *f, uint32_t value, uint32_t count)
{
    for (; count--; value >>= 8) {
        f->bytes[f->length++] = (uint8_t)value;
    }
}

void tsr_begin(tsr_frame *f, char kind, uint8_t sequence)
{
    f->bytes[0] = (uint8_t)kind;
    f->bytes[1] = sequence;
    f->length = TSR_HEAD;
}

void tsr_send(tsr_frame *f)
{
    tsr_put(f, tsr_crc32(0, f->bytes, f->length), CHECK);
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

/* The sum is kept byte by byte: no time is lost between frames that follow each other closely. */
void tsr_receive(tsr_frame *f)
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
        if (sound && left == 1 && length >= TSR_HEAD + CHECK && crc == 0xDEBB20E3u) {
            f->length = length - CHECK;
            return;
        }
    }
}

void tsr_refuse(tsr_frame *f, tsr_refusal why)
{
    tsr_begin(f, 'e', f->bytes[1]);
    tsr_put(f, (uint32_t)why, 1);
    tsr_send(f);
}
