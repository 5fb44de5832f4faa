/* The inner loop of packed indices for one size of stored pixels. Included once for each: TW_PIXEL is the type,
 * TW_PACKED_ROWS the name of the function. No guard, on purpose. */

static tw_status TW_PACKED_ROWS(
    tw_tile *tile, const TW_PIXEL *colours, uint8_t *out, size_t stride, uint32_t rows) {
    const unsigned bits = tile->bits, count = tile->colours,
                   in_byte = 8U >> ((bits >> 1) - (bits >> 3)); /* 8 / bits */
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

#undef TW_PIXEL
#undef TW_PACKED_ROWS
