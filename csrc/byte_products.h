// Products of rows of 8-bit numbers, summed in 32 bits: exact, whatever the instructions.
#pragma once

#include <cstdint>

#include "vectorize.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace icd {

// out[q][i] = row q of `x`, numbers within +-63, times row i of `y`.
template <int queries>
void products_baseline(const int8_t* x, const uint8_t* y, int64_t width, int64_t rows, int32_t* out) {
    for (int64_t row = 0; row < rows; ++row)
        for (int q = 0; q < queries; ++q) {
            int32_t sum = 0;
            for (int64_t c = 0; c < width; ++c) sum += x[q * width + c] * y[row * width + c];
            out[q * rows + row] = sum;
        }
}

#if defined(__x86_64__)
ICD_AVX2 inline __m256i load_bytes(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

template <int queries>
ICD_AVX2 void products_avx2(const int8_t* x, const uint8_t* y, int64_t width, int64_t rows, int32_t* out) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t row = 0; row < rows; ++row, y += width) {
        __m256i sums[queries];
        for (__m256i& sum : sums) sum = _mm256_setzero_si256();
        for (int64_t c = 0; c < width; c += 32) {
            const __m256i other = load_bytes(y + c);
            for (int q = 0; q < queries; ++q) {
                const __m256i pairs = _mm256_maddubs_epi16(other, load_bytes(x + q * width + c));  // within 2 * 255 * 63
                sums[q] = _mm256_add_epi32(sums[q], _mm256_madd_epi16(pairs, ones));
            }
        }
        for (int q = 0; q < queries; ++q) {
            __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums[q]), _mm256_extracti128_si256(sums[q], 1));
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
            out[q * rows + row] = _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
        }
    }
}

// Four products and their sum in one instruction.
ICD_VNNI inline __m512i load_wide(const void* from) { return _mm512_loadu_si512(from); }

template <int queries>
ICD_VNNI void products_vnni(const int8_t* x, const uint8_t* y, int64_t width, int64_t rows, int32_t* out) {
    constexpr int at_once = 4;  // rows, lest each product wait for the one before
    int64_t row = 0;
    for (; queries == 1 && row + at_once <= rows; row += at_once, y += at_once * width) {
        __m512i sums[at_once];
        for (__m512i& sum : sums) sum = _mm512_setzero_si512();
        for (int64_t c = 0; c < width; c += 64) {
            const __m512i own = load_wide(x + c);
            for (int r = 0; r < at_once; ++r) sums[r] = _mm512_dpbusd_epi32(sums[r], load_wide(y + r * width + c), own);
        }
        for (int r = 0; r < at_once; ++r) out[row + r] = _mm512_reduce_add_epi32(sums[r]);
    }
    for (; row < rows; ++row, y += width) {
        __m512i sums[queries];
        for (__m512i& sum : sums) sum = _mm512_setzero_si512();
        for (int64_t c = 0; c < width; c += 64) {
            const __m512i other = load_wide(y + c);
            for (int q = 0; q < queries; ++q) sums[q] = _mm512_dpbusd_epi32(sums[q], other, load_wide(x + q * width + c));
        }
        for (int q = 0; q < queries; ++q) out[q * rows + row] = _mm512_reduce_add_epi32(sums[q]);
    }
}
#endif

template <int queries>
void products(const int8_t* x, const uint8_t* y, int64_t width, int64_t rows, int32_t* out) {
#if defined(__x86_64__)
    if (use_vnni()) return products_vnni<queries>(x, y, width, rows, out);
    if (use_avx2()) return products_avx2<queries>(x, y, width, rows, out);
#endif
    products_baseline<queries>(x, y, width, rows, out);
}

}  // namespace icd
