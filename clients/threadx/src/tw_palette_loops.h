/* The two inner loops of PALETTE for one size of stored pixels. Included once for each: TW_PIXEL is the type,
 * TW_PACKED_ROWS and TW_RUN_ROWS are the names of the functions. No guard, on purpose. */

static tw_status TW_PACKED_ROWS(
    tw_tile *tile, const TW_PIXEL *colours, uint8_t *out, size_t stride, uint32_t rows) {
    const unsigned bits = tile->bits, count = tile->colours, in_byte = 8 / bits;
    const uint8_t *at = tile->at;
    for (; rows != 0; rows--, out += stride) {
        TW_PIXEL *pixel = (TW_PIXEL *)(void *)out;
        TW_PIXEL *const row_end = pixel + tile->rect.width;
        unsigned byte = 0;
        while (pixel != row_end) {
            const TW_PIXEL *const stop = row_end - pixel > (ptrdiff_t)in_byte ? pixel + in_byte : row_end;
            byte = *at++;
            do {
                const unsigned index = byte >> (8 - bits);
                if (index >= count) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                *pixel++ = colours[index];
                byte = (byte << bits) & 0xFF;
            } while (pixel != stop);
        }
        if (byte != 0) { /* the padding of the row's last byte */
            return TW_CODE_BAD_PAYLOAD;
        }
    }
    tile->at = at;
    return TW_OK;
}

static tw_status TW_RUN_ROWS(
    tw_tile *tile, const TW_PIXEL *colours, uint8_t *out, size_t stride, uint32_t rows) {
    const unsigned bits = tile->bits, count = tile->colours, longest = 0xFFU >> bits;
    const uint8_t *at = tile->at;
    uint32_t run = tile->run;
    TW_PIXEL colour = colours[tile->run_index];
    for (; rows != 0; rows--, out += stride) {
        TW_PIXEL *pixel = (TW_PIXEL *)(void *)out;
        TW_PIXEL *const row_end = pixel + tile->rect.width;
        while (pixel != row_end) {
            const TW_PIXEL *stop = row_end;
            if (run == 0) {
                unsigned token, index;
                if (at == tile->end) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                token = *at++;
                index = token & ((1U << bits) - 1);
                if (index >= count) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                tile->run_index = (uint8_t)index;
                colour = colours[index];
                run = (token >> bits) + 1;
                if (run > longest && !take_long_run(tile, &at, &run)) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                if (run > tile->pixels) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                tile->pixels -= run;
            }
            if (run < (uint32_t)(row_end - pixel)) {
                stop = pixel + run;
            }
            run -= (uint32_t)(stop - pixel);
            do {
                *pixel++ = colour;
            } while (pixel != stop);
        }
    }
    tile->at = at;
    tile->run = run;
    return TW_OK;
}

#undef TW_PIXEL
#undef TW_PACKED_ROWS
#undef TW_RUN_ROWS
