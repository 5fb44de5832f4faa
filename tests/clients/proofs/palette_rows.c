/* PALETTE's rows: from any colours and any state between two rows, a row reads inside the payload and writes its own
 * pixels alone, the next state is one to go on from, and it comes to an end. So any number of rows does, in any portions.
 *
 * bound: rows of up to 3 pixels, in any of up to 4 rows; LEFT bytes of payload that are left
 * sources: tw_palette.c tw_pixels.c tw_reader.c
 * unwind: 4
 * unwindset: tw_read_varint.0:6
 * case: packed-RGB332 -DRUNS=0 -DFORMAT=TW_PIXEL_RGB332 -DPIXEL=uint8_t -DLEFT=6
 * long: packed-RGB565 -DRUNS=0 -DFORMAT=TW_PIXEL_RGB565 -DPIXEL=uint16_t -DLEFT=6
 * long: packed-XRGB8888 -DRUNS=0 -DFORMAT=TW_PIXEL_XRGB8888 -DPIXEL=uint32_t -DLEFT=6
 * long: runs-RGB332 -DRUNS=1 -DFORMAT=TW_PIXEL_RGB332 -DPIXEL=uint8_t -DLEFT=6
 * case: runs-RGB565 -DRUNS=1 -DFORMAT=TW_PIXEL_RGB565 -DPIXEL=uint16_t -DLEFT=6
 * long: runs-XRGB8888 -DRUNS=1 -DFORMAT=TW_PIXEL_XRGB8888 -DPIXEL=uint32_t -DLEFT=6 */
#include "palette.h"
#include "proof.h"

enum { WIDTH = 3 };

int main(void) {
    static tw_client client;
    PIXEL row[WIDTH], before[WIDTH];
    uint8_t memory[LEFT];
    const size_t left = nondet_size();
    tw_tile *tile = &client.tile;
    const uint8_t *payload = last_bytes(memory, LEFT, left);
    tw_status status;
    __CPROVER_havoc_object(&client.palette);
    client.format = FORMAT;
    client.packed = tw_packed_size(FORMAT);
    client.stored = sizeof(PIXEL);
    tile->runs = RUNS;
    tile->bits = nondet_u8();
    tile->colours = nondet_u8();
    tile->run_index = nondet_u8();
    tile->run = nondet_u8();
    tile->pixels = nondet_u8();
    tile->rect.width = 1U + nondet_u8() % WIDTH;
    tile->rect.height = 1U + (nondet_u8() & 3U);
    tile->row = nondet_u8() & 3U;
    ASSUME(tile->row < tile->rect.height);
    tile->at = payload;
    tile->end = payload + left;
    ASSUME(is_started(tile));
    for (unsigned i = 0; i < WIDTH; i++) {
        before[i] = row[i];
    }
    status = tw_palette_rows(&client, (uint8_t *)row, sizeof row, 1);
    tile->row++;
    PROVE(status == TW_OK || status == TW_CODE_BAD_PAYLOAD);
    PROVE(tile->at >= payload && tile->at <= tile->end);
    PROVE(status != TW_OK || is_started(tile));
    PROVE(status != TW_OK || tile->row < tile->rect.height || tile->at == tile->end);
    for (unsigned i = 0; i < WIDTH; i++) {
        PROVE(i < tile->rect.width || row[i] == before[i]);
    }
    reached();
    return 0;
}
