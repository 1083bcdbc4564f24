/* What programs on another machine read from stdin. */
#include <stdio.h>
#include <stdlib.h>

static void *get(size_t size)
{
    void *bytes = malloc(size + 1);
    if (bytes == NULL || fread(bytes, 1, size, stdin) != size)
        exit(1);
    return bytes;
}
