/* Compiled part of the emulator: called by Unicorn for every basic block and every access to the
 * UART and the tick counter. It counts instructions exactly and never calls back into Python. */
#include <stdint.h>
#include <string.h>

/* What the block that starts at a halfword of the code means. */
enum { PLAIN = 0, ENTER_RUN = 1, IN_RUN = 2, ENTER_MARK = 3 };

/* Where instructions are counted: outside of the network, in its marks between layers, in its run
 * function, in layer i at FIRST_LAYER + i. */
enum { AT_OUTSIDE = 0, AT_MARK = 1, AT_RUN = 2, FIRST_LAYER = 3 };

#define NOWHERE 0xFFFFFFFFu
#define IDLE_POLLS 4u
#define LINK_REGISTER 10  /* UC_ARM_REG_LR */
#define STACK_POINTER 12  /* UC_ARM_REG_SP */
#define EXECUTION 121     /* UC_ARM_REG_EPSR */
#define THUMB (1u << 24)
#define FIRST_ARGUMENT 66 /* UC_ARM_REG_R0 */

typedef struct {
    /* Code window: bytes; per place and halfword the net number of runs that start (+) or end (-)
     * there, and how often a run that ends there was left by a taken branch. */
    const uint16_t *code;
    int64_t *runs, *taken;
    uint32_t *lengths; /* block bytes << 12 | instructions, of the last block seen there */
    const uint16_t *marks;
    uint64_t *counts; /* instructions at each place */
    uint32_t layers;
    uint32_t base, size;
    uint32_t stride; /* halfwords of a place in runs and taken */
    uint32_t current, return_to, last_end;
    uint32_t mark_return, mark_layer;
    uint64_t instructions, limit;
    uint32_t limit_reached;
    /* UART: bytes from the host, bytes to the host. */
    const uint8_t *incoming;
    uint32_t incoming_size, incoming_next;
    uint8_t *outgoing;
    uint32_t outgoing_size, outgoing_next;
    uint32_t polls;
    uint32_t rx_state, rx_mask, rx_ready, rx_data, tx_state, tx_mask, tx_ready, tx_data;
    /* Tick counter. */
    uint32_t ticks, ticks_down, ticks_mask;
    /* Last access outside the memory map. */
    uint32_t fault_kind, fault_bytes;
    uint64_t fault_address;
    int (*stop)(void *uc);
    int (*read_register)(void *uc, int id, void *value);
    int (*write_register)(void *uc, int id, const void *value);
    /* Lowest stack pointer at each place, or null; where it stood when the run was entered. */
    uint32_t *deepest;
    uint32_t run_stack;
    /* Cycles that each place waits for the flash, or null; words of flash in both caches, the last
     * used first; the word that was executed last. */
    uint64_t *waits;
    uint32_t *code_words, *data_words;
    uint32_t code_cached, data_cached;
    uint32_t wait_states, hidden; /* of which so many pass while the word before is executed */
    uint32_t word_shift, word_last;
} emulation;

/* A page of peripheral registers: plain memory but for the registers above. */
typedef struct {
    emulation *state;
    uint32_t base;
    uint8_t memory[4096];
} page;

static uint32_t instructions_in(const uint16_t *code, uint32_t bytes)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < bytes / 2; count++) {
        i += (code[i] >> 11) >= 0x1D ? 2 : 1;
    }
    return count;
}

static uint32_t ones(uint32_t x)
{
    uint32_t count = 0;
    for (; x; x &= x - 1) {
        count++;
    }
    return count;
}

/* Bytes by which an instruction lowers the stack pointer: PUSH, POP, SUB, ADD, STR, VPUSH, VPOP. */
static int32_t lowers(uint16_t first, uint16_t second)
{
    if ((first & 0xF600) == 0xB400) {
        return (first & 0x0800 ? -4 : 4) * (int32_t)ones(first & 0x1FFu);
    }
    if ((first & 0xFF00) == 0xB000) {
        return (first & 0x80 ? 4 : -4) * (int32_t)(first & 0x7Fu);
    }
    if (first == 0xE92D || first == 0xE8BD) {
        return (first == 0xE92D ? 4 : -4) * (int32_t)ones(second);
    }
    if ((first & 0xFFBF) == 0xED2D || (first & 0xFFBF) == 0xECBD) {
        return ((first & 0xFFBF) == 0xED2D ? 4 : -4) * (int32_t)(second & 0xFFu);
    }
    return first == 0xF84D && (second & 0xFFF) == 0xD04 ? 4 : 0;
}

/* Bytes by which a block lowers the stack pointer at most. */
static uint32_t depth_in(const uint16_t *code, uint32_t bytes)
{
    int32_t depth = 0, most = 0;
    for (uint32_t i = 0; i < bytes / 2; i++) {
        const int wide = (code[i] >> 11) >= 0x1D && i + 1 < bytes / 2;
        depth += lowers(code[i], wide ? code[i + 1] : 0);
        most = depth > most ? depth : most;
        i += (uint32_t)wide;
    }
    return (uint32_t)most;
}

static uint32_t read_register(void *uc, const emulation *e, int id)
{
    uint32_t value = 0;
    e->read_register(uc, id, &value);
    return value;
}

static void change_place(void *uc, emulation *e, uint16_t mark, uint32_t pc)
{
    if (pc == e->return_to) {
        e->current = AT_OUTSIDE;
        e->return_to = e->mark_return = NOWHERE;
    } else if (pc == e->mark_return) {
        e->current = e->mark_layer < e->layers ? FIRST_LAYER + e->mark_layer : AT_RUN;
        e->mark_return = NOWHERE;
    } else if (mark == ENTER_RUN) {
        e->return_to = read_register(uc, e, LINK_REGISTER) & ~1u;
        e->run_stack = read_register(uc, e, STACK_POINTER);
        e->current = AT_RUN;
    } else if (e->current != AT_OUTSIDE && mark == ENTER_MARK) {
        e->mark_return = read_register(uc, e, LINK_REGISTER) & ~1u;
        e->mark_layer = read_register(uc, e, FIRST_ARGUMENT);
        e->current = AT_MARK;
    } else if (e->current != AT_OUTSIDE && mark == IN_RUN) {
        e->current = AT_RUN;
    }
}

/* Whether a cache holds a word of flash, which it does from now on; the oldest one makes room. */
static int in_cache(uint32_t *words, uint32_t count, uint32_t word)
{
    uint32_t at = 0;
    while (at < count && words[at] != word) {
        at++;
    }
    const int found = at < count;
    if (count) {
        memmove(words + 1, words, (found ? at : count - 1) * sizeof *words);
        words[0] = word;
    }
    return found;
}

static void fetch(emulation *e, uint32_t address, uint32_t bytes)
{
    const uint32_t last = (address + bytes - 1) >> e->word_shift;
    for (uint32_t word = address >> e->word_shift; word <= last; word++) {
        const int next = word == e->word_last + 1;
        if (word != e->word_last && !in_cache(e->code_words, e->code_cached, word)) {
            const uint32_t hidden = next ? e->hidden : 0;
            e->waits[e->current] += e->wait_states > hidden ? e->wait_states - hidden : 0;
        }
        e->word_last = word;
    }
}

void on_flash_read(void *uc, int kind, uint64_t address, int bytes, int64_t value, void *context)
{
    emulation *e = context;
    const uint32_t outside_it = THUMB;
    (void)kind, (void)bytes, (void)value;
    /* For this call Unicorn 2.1 restores the state of an IT block that the load may stand in, and
     * then executes the next block under its conditions. */
    e->write_register(uc, EXECUTION, &outside_it);
    if (!in_cache(e->data_words, e->data_cached, (uint32_t)address >> e->word_shift)) {
        e->waits[e->current] += e->wait_states;
    }
}

void on_block(void *uc, uint64_t address, uint32_t bytes, void *context)
{
    emulation *e = context;
    const uint32_t pc = (uint32_t)address, at = (pc - e->base) / 2;
    if (pc - e->base >= e->size || bytes > e->size - (pc - e->base)) {
        return;
    }
    if (pc != e->last_end) {
        e->taken[(uint64_t)e->current * e->stride + (e->last_end - e->base) / 2]++;
    }
    e->last_end = pc + bytes;
    if (e->marks[at] || pc == e->return_to || pc == e->mark_return) {
        change_place(uc, e, e->marks[at], pc);
    }
    if (e->lengths[at] >> 12 != bytes) {
        e->lengths[at] = bytes << 12 | instructions_in(e->code + at, bytes);
    }
    if (e->waits) {
        fetch(e, pc, bytes);
    }
    if (e->deepest) {
        const uint32_t low = read_register(uc, e, STACK_POINTER) - depth_in(e->code + at, bytes);
        if (low < e->deepest[e->current]) {
            e->deepest[e->current] = low;
        }
    }
    const uint32_t count = e->lengths[at] & 0xFFFu;
    int64_t *runs = e->runs + (uint64_t)e->current * e->stride;
    runs[at]++;
    runs[at + bytes / 2]--;
    e->instructions += count;
    e->counts[e->current] += count;
    if (e->instructions > e->limit) {
        e->limit_reached = 1;
        e->stop(uc);
    }
}

int on_fault(void *uc, int kind, uint64_t address, int bytes, int64_t value, void *context)
{
    emulation *e = context;
    (void)uc;
    (void)value;
    e->fault_kind = (uint32_t)kind;
    e->fault_bytes = (uint32_t)bytes;
    e->fault_address = address;
    return 0;
}

static uint32_t uart_state(void *uc, emulation *e, uint32_t address, uint32_t value)
{
    const int waiting = e->incoming_next < e->incoming_size;
    if (address == e->rx_state) {
        value = (value & ~e->rx_mask) | ((waiting ? e->rx_ready : ~e->rx_ready) & e->rx_mask);
        if (!waiting && ++e->polls >= IDLE_POLLS) {
            e->stop(uc); /* the firmware waits for input: give the host its turn */
        }
    }
    if (address == e->tx_state) {
        /* Stopped here and not at the write, which would be executed again. */
        const int room = e->outgoing_next < e->outgoing_size;
        value = (value & ~e->tx_mask) | ((room ? e->tx_ready : ~e->tx_ready) & e->tx_mask);
        if (!room) {
            e->stop(uc);
        }
    }
    return value;
}

uint64_t on_read(void *uc, uint64_t offset, unsigned bytes, void *context)
{
    page *p = context;
    emulation *e = p->state;
    const uint32_t address = p->base + (uint32_t)offset;
    uint32_t value = 0;
    memcpy(&value, p->memory + offset, bytes);
    if (address == e->rx_state || address == e->tx_state) {
        return uart_state(uc, e, address, value);
    }
    if (address == e->rx_data && e->incoming_next < e->incoming_size) {
        e->polls = 0;
        return e->incoming[e->incoming_next++];
    }
    if (address == e->ticks) {
        const uint32_t count = (uint32_t)e->instructions;
        return (e->ticks_down ? ~count : count) & e->ticks_mask;
    }
    return value;
}

void on_write(void *uc, uint64_t offset, unsigned bytes, uint64_t value, void *context)
{
    page *p = context;
    emulation *e = p->state;
    const uint32_t address = p->base + (uint32_t)offset;
    (void)uc;
    if (address == e->tx_data) {
        e->polls = 0;
        if (e->outgoing_next < e->outgoing_size) {
            e->outgoing[e->outgoing_next++] = (uint8_t)value;
        }
        return;
    }
    memcpy(p->memory + offset, &value, bytes);
}
