/* How a fuzz target is run. Included once, after `one_input` and MAX_INPUT. */
#ifndef TW_FUZZ_MAIN_H
#define TW_FUZZ_MAIN_H

#ifdef TW_FUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    one_input(data, size);
    return 0;
}

#else

static uint32_t random_state;

static uint32_t drawn(uint32_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % below;
}

/* One to four small damages. */
static size_t mutated(uint8_t *out, const uint8_t *data, size_t size) {
    memcpy(out, data, size);
    for (uint32_t i = 1 + drawn(4); i != 0 && size != 0; i--) {
        const size_t at = drawn((uint32_t)size);
        switch (drawn(5)) {
        case 0: out[at] = (uint8_t)drawn(256); break;
        case 1: out[at] ^= (uint8_t)(1U << drawn(8)); break;
        case 2: out[at] = (uint8_t)(drawn(2) ? 0xFF : 0); break;
        case 3:
            memmove(out + at, out + at + 1, size - at - 1);
            size--;
            break;
        default: /* a piece of it again, elsewhere */
            if (size < MAX_INPUT - 16) {
                const size_t length = 1 + drawn(size - at < 16 ? (uint32_t)(size - at) : 16);
                memmove(out + at + length, out + at, size - at);
                size += length;
            }
            break;
        }
    }
    return size;
}

static size_t read_all(FILE *file, uint8_t *data) {
    const size_t size = fread(data, 1, MAX_INPUT, file);
    (void)fclose(file);
    return size;
}

int main(int count, char **words) {
    static uint8_t data[MAX_INPUT], changed[MAX_INPUT];
    unsigned long rounds;
    if (count < 2) {
        one_input(data, read_all(stdin, data));
        return 0;
    }
    rounds = strtoul(words[1], NULL, 10);
    random_state = 1;
    for (int i = 2; i < count; i++) {
        FILE *file = fopen(words[i], "rb");
        size_t size;
        CHECK(file != NULL);
        size = read_all(file, data);
        one_input(data, size);
        for (unsigned long round = 0; round < rounds; round++) {
            one_input(changed, mutated(changed, data, size));
        }
    }
    return 0;
}

#endif

#endif
