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
#    define TW_RUN_ROWS run_rows_1
#    include "tw_palette_loops.h"
#endif

#if TW_WITH_RGB565
#    define TW_PIXEL uint16_t
#    define TW_PACKED_ROWS packed_rows_2
#    define TW_RUN_ROWS run_rows_2
#    include "tw_palette_loops.h"
#endif

#if TW_WITH_XRGB8888
#    define TW_PIXEL uint32_t
#    define TW_PACKED_ROWS packed_rows_4
#    define TW_RUN_ROWS run_rows_4
#    include "tw_palette_loops.h"
#endif

static void store_colour(tw_client *client, unsigned index, uint32_t pixel) {
    switch (client->stored) {
    case 1: client->palette.of1[index] = (uint8_t)pixel; break;
    case 2: client->palette.of2[index] = (uint16_t)pixel; break;
    default: client->palette.of4[index] = pixel; break;
    }
}

tw_status tw_palette_start(tw_client *client) {
    tw_tile *tile = &client->tile;
    unsigned colours;
    if (tile->at == tile->end) {
        return TW_CODE_BAD_PAYLOAD;
    }
    tile->runs = *tile->at >> 7;
    colours = (*tile->at++ & 0x7FU) + 1;
    if (colours < 2 || (size_t)(tile->end - tile->at) < (size_t)colours * client->packed) {
        return TW_CODE_BAD_PAYLOAD;
    }
    for (unsigned i = 0; i < colours; i++, tile->at += client->packed) {
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

tw_status tw_palette_rows(tw_client *client, uint8_t *out, size_t stride, uint32_t rows) {
    tw_tile *tile = &client->tile;
    const tw_palette *palette = &client->palette;
    tw_status status = TW_CODE_INTERNAL;
    switch (client->stored) {
#if TW_WITH_8BIT
    case 1:
        status = tile->runs ? run_rows_1(tile, palette->of1, out, stride, rows)
                            : packed_rows_1(tile, palette->of1, out, stride, rows);
        break;
#endif
#if TW_WITH_RGB565
    case 2:
        status = tile->runs ? run_rows_2(tile, palette->of2, out, stride, rows)
                            : packed_rows_2(tile, palette->of2, out, stride, rows);
        break;
#endif
#if TW_WITH_XRGB8888
    case 4:
        status = tile->runs ? run_rows_4(tile, palette->of4, out, stride, rows)
                            : packed_rows_4(tile, palette->of4, out, stride, rows);
        break;
#endif
    default: break;
    }
    /* No run reaches beyond the last row, so what is left after it is too much. */
    if (status == TW_OK && tile->row + rows == tile->rect.height && tile->at != tile->end) {
        status = TW_CODE_BAD_PAYLOAD;
    }
    return status;
}
