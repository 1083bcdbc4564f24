/* Shadow memory: every byte of the arena carries its owner, a row of a tensor.
 *
 * The compiler's thread sanitizer puts a call before each load and store of the generated C; here
 * these calls check and mark. A store gives the byte to the row that the running node makes. A load
 * must find a row that the node may read at this moment; and when a node's call ends, it must have
 * found each row of its window: a row that another took the place of is missed. tsr_mark(i), which
 * the generated C calls when node i goes on, tells who runs. Staged constants are copied when their
 * stage begins, before it is marked: such a copy is known by where it comes from and goes to. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { NOBODY = -1, SCRATCH = -2, STAGED = -3 };
enum { SOUND = 0, STRAY_WRITE = 1, NOT_AN_INPUT = 2, WRONG_ROW = 3, MISSED_ROW = 4 };

typedef struct {
    int32_t tensor, row;
} owner;

/* Bytes [low, high) of the arena where a node writes rows of a tensor; row_bytes is 0 in a stream,
 * where the number of the call is the row. */
typedef struct {
    int32_t tensor, low, high, row_bytes;
} place;

/* What call c of a node may read of a tensor: rows [low, high) at index first + c; with a step, it
 * must read each step-th of them. */
typedef struct {
    int32_t tensor, first, step;
} need;

typedef struct {
    int32_t calls; /* 1 for a layer */
    int32_t places, places_end, needs, needs_end;
    int32_t scratch_low, scratch_high;
} node;

/* A row that is moved from a slot of its own to its ring. */
typedef struct {
    int32_t tensor, from, from_end, to, to_end;
} move;

/* A table that is copied to byte `to` for a node; nobody may write there while a node up to the last
 * of its stage runs. */
typedef struct {
    const uint8_t *from;
    int32_t bytes, to, node, last;
} staged;

typedef struct {
    int32_t kind, address, node, call, tensor, row;
} shadow_fault;

/* A piece of the arena, an array of its own; all lie end to end in what is counted here. */
typedef struct {
    const uint8_t *start;
    int32_t bytes, base;
} bank;

typedef struct {
    const bank *banks;
    const staged *copies; /* in the order in which they are made */
    owner *owners;
    const node *nodes;
    const place *places;
    const need *needs;
    const move *moves;
    const int32_t *low, *high;
    uint8_t *seen; /* one per row of the longest window, per need */
    int32_t *calls;
    int32_t bank_count, copies_count, node_count, moves_count, window;
} shadow_tables;

static shadow_tables t;
static shadow_fault fault;
static int running = NOBODY, copied;

static void fail(int culprit, int kind, int32_t address, owner o)
{
    if (fault.kind == SOUND) {
        const int call = t.calls[culprit] > 0 ? t.calls[culprit] - 1 : 0;
        fault = (shadow_fault){kind, address, culprit, call, o.tensor, o.row};
    }
}

/* Return the index of the rows that this call of a node may read. */
static int32_t at(const need *n)
{
    const int calls = t.nodes[running].calls;
    return n->first + (calls > 1 ? (t.calls[running] - 1) % calls : 0);
}

static void finish_call(void)
{
    if (running == NOBODY) {
        return;
    }
    for (int i = t.nodes[running].needs; i < t.nodes[running].needs_end; i++) {
        const need *n = &t.needs[i];
        for (int row = t.low[at(n)]; n->step && row < t.high[at(n)]; row += n->step) {
            if (!t.seen[i * t.window + row - t.low[at(n)]]) {
                fail(running, MISSED_ROW, -1, (owner){n->tensor, row});
            }
        }
        memset(t.seen + i * t.window, 0, (size_t)t.window);
    }
}

void tsr_mark(int layer)
{
    finish_call();
    running = layer < t.node_count ? layer : NOBODY;
    if (running != NOBODY) {
        t.calls[running]++;
    }
}

/* Refuse to overwrite constants that were staged for the stage that runs. */
static void keep_copy(int32_t address)
{
    const owner o = t.owners[address];
    if (running != NOBODY && o.tensor == STAGED && running <= t.copies[o.row].last) {
        fail(running, STRAY_WRITE, address, o);
    }
}

static void write_byte(int32_t address)
{
    if (running == NOBODY) {
        return;
    }
    keep_copy(address);
    const node *n = &t.nodes[running];
    for (int i = n->places; i < n->places_end; i++) {
        const place *p = &t.places[i];
        if (address >= p->low && address < p->high) {
            const int row = p->row_bytes ? (address - p->low) / p->row_bytes : t.calls[running] - 1;
            t.owners[address] = (owner){p->tensor, row};
            return;
        }
    }
    if (address >= n->scratch_low && address < n->scratch_high) {
        t.owners[address] = (owner){SCRATCH, running};
        return;
    }
    fail(running, STRAY_WRITE, address, t.owners[address]);
}

static void read_byte(int32_t address)
{
    if (running == NOBODY) {
        return;
    }
    const owner o = t.owners[address];
    const node *n = &t.nodes[running];
    if (o.tensor == SCRATCH && o.row == running) {
        return;
    }
    if (o.tensor == STAGED && t.copies[o.row].node == running) {
        return;
    }
    for (int i = n->needs; i < n->needs_end; i++) {
        const int32_t low = t.low[at(&t.needs[i])], high = t.high[at(&t.needs[i])];
        if (t.needs[i].tensor == o.tensor && o.row >= low && o.row < high) {
            if (t.needs[i].step) {
                t.seen[i * t.window + o.row - low] = 1;
            }
            return;
        }
    }
    for (int i = n->needs; i < n->needs_end; i++) {
        if (t.needs[i].tensor == o.tensor) {
            fail(running, WRONG_ROW, address, o);
            return;
        }
    }
    fail(running, NOT_AN_INPUT, address, o);
}

static void each(const void *from, size_t count, void (*visit)(int32_t))
{
    for (const bank *b = t.banks; b < t.banks + t.bank_count; b++) {
        const ptrdiff_t offset = (const uint8_t *)from - b->start;
        for (ptrdiff_t i = offset; i < offset + (ptrdiff_t)count; i++) {
            if (i >= 0 && i < b->bytes) {
                visit(b->base + (int32_t)i);
            }
        }
    }
}

/* Return the byte of the arena that lies at an address, -1 for none. */
static int32_t byte_at(const void *address)
{
    for (const bank *b = t.banks; b < t.banks + t.bank_count; b++) {
        const ptrdiff_t offset = (const uint8_t *)address - b->start;
        if (offset >= 0 && offset < b->bytes) {
            return b->base + (int32_t)offset;
        }
    }
    return -1;
}

static const move *moved(int32_t to, int32_t from)
{
    for (int i = 0; i < t.moves_count; i++) {
        const move *m = &t.moves[i];
        const int placed = to >= m->to && to < m->to_end && from >= m->from && from < m->from_end;
        if (placed && t.owners[from].tensor == m->tensor) {
            return m;
        }
    }
    return 0;
}

/* Tell whether a copy may not take a byte: it is of the node's inputs, or of the stage's copies. */
static int taken(const staged *c, owner o)
{
    if (o.tensor == STAGED) {
        return t.copies[o.row].last == c->last;
    }
    const node *n = &t.nodes[c->node];
    int found = 0;
    for (int i = n->needs; i < n->needs_end; i++) {
        found |= t.needs[i].tensor == o.tensor;
    }
    return found;
}

/* Return which copy is made, -1 if none that is still to be made. */
static int copy_of(int32_t to, const void *from, size_t count)
{
    for (int i = copied; i < t.copies_count; i++) {
        const staged *c = &t.copies[i];
        if (c->from == from && c->to == to && (size_t)c->bytes == count) {
            return i;
        }
    }
    return -1;
}

static void stage(int number)
{
    const staged *c = &t.copies[number];
    for (int32_t address = c->to; address < c->to + c->bytes; address++) {
        if (taken(c, t.owners[address])) {
            fail(c->node, STRAY_WRITE, address, t.owners[address]);
        }
        t.owners[address] = (owner){STAGED, number};
    }
    copied = number + 1;
}

void *shadow_copy(void *to, const void *from, size_t count)
{
    const int32_t target = byte_at(to), source = byte_at(from);
    const int number = copy_of(target, from, count);
    if (number >= 0) {
        stage(number);
        return memmove(to, from, count);
    }
    if (target >= 0 && source >= 0 && moved(target, source)) {
        each(to, count, keep_copy);
        memmove(t.owners + target, t.owners + source, count * sizeof *t.owners);
        return memmove(to, from, count);
    }
    each(from, count, read_byte);
    each(to, count, write_byte);
    return memmove(to, from, count);
}

void *shadow_fill(void *to, int value, size_t count)
{
    each(to, count, write_byte);
    return memset(to, value, count);
}

void shadow_open(const shadow_tables *tables)
{
    t = *tables;
}

/* Begin an inference; end it and return what was found first. */
void shadow_begin(void)
{
    running = NOBODY;
    copied = 0;
    memset(&fault, 0, sizeof fault);
    memset(t.calls, 0, (size_t)t.node_count * sizeof *t.calls);
}

const shadow_fault *shadow_end(void)
{
    finish_call();
    running = NOBODY;
    return &fault;
}

#define ACCESS(size) \
    void __tsan_read##size(const void *p) { each(p, size, read_byte); } \
    void __tsan_write##size(const void *p) { each(p, size, write_byte); } \
    void __tsan_unaligned_read##size(const void *p) { each(p, size, read_byte); } \
    void __tsan_unaligned_write##size(const void *p) { each(p, size, write_byte); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(const void *p, unsigned long size) { each(p, size, read_byte); }
void __tsan_write_range(const void *p, unsigned long size) { each(p, size, write_byte); }
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
