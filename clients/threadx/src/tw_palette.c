/* PALETTE: few colours, then indices, packed or in runs. */
#include "tw_internal.h"

#define RUN_COLOURS 64U /* a token has at least two bits for the length */

static unsigned packed_bits(unsigned colours) {
    return colours <= 2 ? 1 : colours <= 4 ? 2 : colours <= 16 ? 4 : 8;
}

static unsigned run_bits(unsigned colours) {
    unsigned bits = 1;
    while (colours > 1U << bits) {
        bits++;
    }
    return bits;
}

/* Adds the length that follows a token of the longest run. */
static bool take_long_run(const tw_tile *tile, const uint8_t **at, uint32_t *run) {
    tw_reader reader = tw_reader_of(*at, (size_t)(tile->end - *at));
    *run += tw_read_varint(&reader, 0, tile->pixels);
    *at = reader.at;
    return reader.status == TW_OK;
}

#if TW_WITH_8BIT
#    define TW_PIXEL uint8_t
#    define TW_PACKED_ROWS packed_rows_1
#    include "tw_palette_loops.h"
#endif

#if TW_WITH_RGB565
#    define TW_PIXEL uint16_t
#    define TW_PACKED_ROWS packed_rows_2
#    include "tw_palette_loops.h"
#endif

#if TW_WITH_XRGB8888
#    define TW_PIXEL uint32_t
#    define TW_PACKED_ROWS packed_rows_4
#    include "tw_palette_loops.h"
#endif

static void store_colour(tw_client *client, unsigned index, uint32_t pixel) {
    switch (tw_stored(client)) {
    case 1: client->palette.of1[index] = (uint8_t)pixel; break;
    case 2: client->palette.of2[index] = (uint16_t)pixel; break;
    default: client->palette.of4[index] = pixel; break;
    }
}

/* Pixels of one colour, one at least; returns where they end. */
static inline uint8_t *put_run(
    const tw_palette *palette, unsigned stored, uint8_t *out, unsigned index, uint32_t count) {
    (void)stored; /* RGB565 may be all there is */
#if TW_WITH_8BIT
    if (stored == 1) {
        const uint8_t colour = palette->of1[index];
        do {
            *out++ = colour;
        } while (--count != 0);
        return out;
    }
#endif
#if TW_WITH_XRGB8888
    if (stored == 4) {
        const uint32_t colour = palette->of4[index];
        do {
            *(uint32_t *)(void *)out = colour;
            out += 4;
        } while (--count != 0);
        return out;
    }
#endif
    {
        const uint16_t colour = palette->of2[index];
        do {
            *(uint16_t *)(void *)out = colour;
            out += 2;
        } while (--count != 0);
    }
    return out;
}

static tw_status run_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    tw_tile *tile = &client->tile;
    /* Copies, since a stored pixel might be any of them for all that the compiler knows. */
    const unsigned stored = tw_stored(client), bits = tile->bits, longest = 0xFFU >> bits,
                   colours = tile->colours;
    const uint8_t *at = tile->at, *const end = tile->end;
    unsigned index = tile->run_index;
    uint32_t run = tile->run;
    for (; rows != 0; rows--, out += stride) {
        uint8_t *pixel = out;
        for (uint32_t left = tile->rect.width, part; left != 0; left -= part) {
            if (run == 0) {
                unsigned token;
                if (at == end) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                token = *at++;
                index = token & ((1U << bits) - 1);
                run = (token >> bits) + 1;
                if (index >= colours || (run > longest && !take_long_run(tile, &at, &run))
                    || run > tile->pixels) {
                    return TW_CODE_BAD_PAYLOAD;
                }
                tile->pixels -= run;
            }
            part = run < left ? run : left;
            run -= part;
            pixel = put_run(&client->palette, stored, pixel, index, part);
        }
    }
    tile->at = at;
    tile->run = run;
    tile->run_index = (uint8_t)index;
    return TW_OK;
}

tw_status tw_palette_start(tw_client *client) {
    tw_tile *tile = &client->tile;
    unsigned colours;
    if (tile->at == tile->end) {
        return TW_CODE_BAD_PAYLOAD;
    }
    tile->runs = *tile->at >> 7;
    colours = (*tile->at++ & 0x7FU) + 1;
    if (colours < 2 || (size_t)(tile->end - tile->at) < (size_t)colours * tw_packed(client)) {
        return TW_CODE_BAD_PAYLOAD;
    }
    for (unsigned i = 0; i < colours; i++, tile->at += tw_packed(client)) {
        store_colour(client, i, tw_pixel(client, tile->at));
    }
    tile->colours = (uint8_t)colours;
    tile->pixels = tile->rect.width * tile->rect.height;
    tile->run = 0;
    tile->run_index = 0;
    if (tile->runs) {
        tile->bits = (uint8_t)run_bits(colours);
        return colours <= RUN_COLOURS ? TW_OK : TW_CODE_BAD_PAYLOAD;
    }
    tile->bits = (uint8_t)packed_bits(colours);
    return (size_t)(tile->end - tile->at)
                   == (size_t)((tile->rect.width * tile->bits + 7) / 8) * tile->rect.height
               ? TW_OK
               : TW_CODE_BAD_PAYLOAD;
}

static tw_status packed_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    tw_tile *tile = &client->tile;
    const tw_palette *palette = &client->palette;
    switch (tw_stored(client)) {
#if TW_WITH_8BIT
    case 1: return packed_rows_1(tile, palette->of1, out, stride, rows);
#endif
#if TW_WITH_RGB565
    case 2: return packed_rows_2(tile, palette->of2, out, stride, rows);
#endif
#if TW_WITH_XRGB8888
    case 4: return packed_rows_4(tile, palette->of4, out, stride, rows);
#endif
    default: return TW_CODE_INTERNAL;
    }
}

tw_status tw_palette_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    const tw_tile *tile = &client->tile;
    TW_TRY(tile->runs ? run_rows(client, out, stride, rows) : packed_rows(client, out, stride, rows));
    /* No run reaches beyond the last row, so what is left after it is too much. */
    return tile->row + rows == tile->rect.height && tile->at != tile->end ? TW_CODE_BAD_PAYLOAD : TW_OK;
}
