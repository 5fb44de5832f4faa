/* PALETTE's colours: any payload is read inside itself, and what is accepted is what palette_rows.c starts from.
 *
 * bound: payloads of up to LENGTH bytes, rectangles of up to 16 columns and 4 rows
 * sources: tw_palette.c tw_pixels.c tw_reader.c
 * unwind: 11
 * long: RGB332 -DFORMAT=TW_PIXEL_RGB332 -DLENGTH=10
 * case: RGB565 -DFORMAT=TW_PIXEL_RGB565 -DLENGTH=10
 * long: XRGB8888 -DFORMAT=TW_PIXEL_XRGB8888 -DLENGTH=10 */
#include "palette.h"
#include "proof.h"

int main(void) {
    static tw_client client;
    uint8_t memory[LENGTH];
    const size_t length = nondet_size();
    tw_tile *tile = &client.tile;
    const uint8_t *payload = last_bytes(memory, LENGTH, length);
    tw_status status;
    client.format = FORMAT;
    client.packed = tw_packed_size(FORMAT);
    client.stored = (uint8_t)(client.packed == 3 ? 4 : client.packed);
    client.big_endian = FORMAT == TW_PIXEL_RGB565 && nondet_bool();
    tile->rect.width = 1U + (nondet_u8() & 15U);
    tile->rect.height = 1U + (nondet_u8() & 3U);
    tile->at = payload;
    tile->end = payload + length;
    status = tw_palette_start(&client);
    PROVE(status == TW_OK || status == TW_CODE_BAD_PAYLOAD);
    PROVE(tile->at >= payload && tile->at <= tile->end);
    PROVE(status != TW_OK || is_started(tile));
    reached();
    return 0;
}
