/* AMX in software, for the tests of kernels on processors without it: the operations on tiles as
   Intel's manual defines them, one state for each thread. A wrong use ends the process with a
   message: a tile before its configuration, rows or bytes that do not fit a product. */

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILES = 8, ROWS = 16, BYTES = 64, FLUSHED = 0x9fc0 };

typedef struct {
    int configured;
    int rows[TILES];
    int bytes[TILES];
    uint8_t data[TILES][ROWS][BYTES];
} State;

static _Thread_local State state;

static void require(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "AMX emulation: %s\n", what);
        abort();
    }
}

static void require_tile(int tile) {
    require(state.configured, "a tile is used before ldtilecfg");
    require(tile >= 0 && tile < TILES && state.rows[tile], "this tile is not configured");
}

void emulated_ldtilecfg(const uint8_t *config) {
    require(config[0] == 1, "the palette is not 1");
    memset(&state, 0, sizeof state);
    for (int i = 1; i < 16; i++) require(config[i] == 0, "reserved bytes are not 0");
    for (int tile = 0; tile < TILES; tile++) {
        int bytes = config[16 + 2 * tile] | config[17 + 2 * tile] << 8, rows = config[48 + tile];
        require(rows <= ROWS && bytes <= BYTES, "a tile has more than 16 rows or 64 bytes");
        require(!rows == !bytes, "a tile has rows without bytes, or bytes without rows");
        state.rows[tile] = rows;
        state.bytes[tile] = bytes;
    }
    state.configured = 1;
}

void emulated_tilerelease(void) { memset(&state, 0, sizeof state); }

void emulated_tilezero(int8_t tile) {
    require_tile(tile);
    memset(state.data[tile], 0, sizeof state.data[tile]);
}

void emulated_tileloadd64(int8_t tile, const uint8_t *from, int64_t stride) {
    emulated_tilezero(tile);
    for (int row = 0; row < state.rows[tile]; row++)
        memcpy(state.data[tile][row], from + row * stride, state.bytes[tile]);
}

void emulated_tileloaddt164(int8_t tile, const uint8_t *from, int64_t stride) {
    emulated_tileloadd64(tile, from, stride);
}

void emulated_tilestored64(int8_t tile, uint8_t *to, int64_t stride) {
    require_tile(tile);
    for (int row = 0; row < state.rows[tile]; row++)
        memcpy(to + row * stride, state.data[tile][row], state.bytes[tile]);
}

static float widened(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Even k and odd k apart, each multiply-add rounded once, then the two are added and their sum is
   added to the tile. Denormals are zeros on the way in and out, exceptions stay masked. */
void emulated_tdpbf16ps(int8_t sums, int8_t left, int8_t right) {
    require_tile(sums), require_tile(left), require_tile(right);
    int pairs = state.bytes[left] / 4, columns = state.bytes[sums] / 4;
    require(state.rows[sums] == state.rows[left], "the sums have other rows than the left tile");
    require(state.rows[right] == pairs, "the right tile has other rows than the left one pairs");
    require(state.bytes[right] == state.bytes[sums], "the right tile has other columns than the sums");
    unsigned control = _mm_getcsr();
    _mm_setcsr(FLUSHED);
    for (int row = 0; row < state.rows[sums]; row++) {
        const uint16_t *a = (const uint16_t *)state.data[left][row];
        float even[ROWS] = {0}, odd[ROWS] = {0}, *c = (float *)state.data[sums][row];
        for (int k = 0; k < pairs; k++) {
            const uint16_t *b = (const uint16_t *)state.data[right][k];
            float a0 = widened(a[2 * k]), a1 = widened(a[2 * k + 1]);
            for (int n = 0; n < columns; n++) {
                even[n] = __builtin_fmaf(a0, widened(b[2 * n]), even[n]);
                odd[n] = __builtin_fmaf(a1, widened(b[2 * n + 1]), odd[n]);
            }
        }
        for (int n = 0; n < columns; n++) c[n] += even[n] + odd[n];
    }
    for (int row = state.rows[sums]; row < ROWS; row++) memset(state.data[sums][row], 0, BYTES);
    _mm_setcsr(control);
}
