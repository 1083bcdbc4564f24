/* Chooses tokens on another machine: how and from which logits comes from stdin; the tokens of the
 * positions 0, 1 ... go to stdout. */
#include "reading.h"
#include "tessera.h"

int main(void)
{
    const struct tessera_sampling *how = get(sizeof *how);
    const int32_t *header = get(2 * sizeof *header); /* vocabulary, positions */
    const int32_t vocab = header[0], count = header[1];
    const float *logits = get((size_t)vocab * sizeof *logits);
    int32_t failed = 0;
    for (int32_t position = 0; position < count; position++) {
        const int32_t token = tessera_sample(how, logits, vocab, position);
        failed |= fwrite(&token, sizeof token, 1, stdout) != 1;
    }
    return failed;
}
