// Bounds on the cosines of many vectors, from 8-bit sketches of them: a quarter of the memory to read and whole numbers to add,
// where only few pairs need the exact cosine.
//
// With unit vectors u, v and any centre m:  u v = (u - m)(v - m) + (u m - m m / 2) + (v m - m m / 2).
// The residual u - m is kept as scale * (whole numbers within +-127) and the length of what is lost; by Cauchy and Schwarz
//     |(u - m)(v - m) - sketch(u) sketch(v)|  <=  lost(u) |v - m| + |sketch(u)| lost(v).
// The centre takes away what all vectors have in common, which keeps the loss small. Sums of whole numbers are exact, so the
// bounds are the same on every processor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "memory.h"
#include "vectorize.h"

namespace icd {

// out[q][row - begin] = row q of `x` times row `row` of `y`, for the rows begin..end.
template <int queries>
ICD_INLINE void sketch_products_body(const int16_t* x, const int8_t* y, int64_t width, int64_t begin, int64_t end,
                                     int32_t* out) {
    for (int64_t row = begin; row < end; ++row) {
        const int8_t* other = y + row * width;
        int32_t sums[queries] = {};
        for (int64_t c = 0; c < width; ++c)
            for (int q = 0; q < queries; ++q) sums[q] += x[q * width + c] * static_cast<int16_t>(other[c]);
        for (int q = 0; q < queries; ++q) out[q * (end - begin) + row - begin] = sums[q];
    }
}

template <int queries>
void sketch_products_baseline(const int16_t* x, const int8_t* y, int64_t width, int64_t begin, int64_t end, int32_t* out) {
    sketch_products_body<queries>(x, y, width, begin, end, out);
}

template <int queries>
ICD_AVX2 void sketch_products_avx2(const int16_t* x, const int8_t* y, int64_t width, int64_t begin, int64_t end,
                                   int32_t* out) {
    sketch_products_body<queries>(x, y, width, begin, end, out);
}

// The sketches of rows 0..count-1. Every row has a level of its own, which is added to its bounds.
class Sketches {
  public:
    static constexpr int group = 8;  // queries that are answered together

    // `centre` has as many channels as the vectors.
    Sketches(int64_t count, std::vector<float> centre)
        : channels_(static_cast<int64_t>(centre.size())), width_((channels_ + 31) / 32 * 32),
          largest_(std::min(127.0, std::floor(std::sqrt(2.1e9 / static_cast<double>(width_))))),  // sums stay in int32
          centre_(std::move(centre)), numbers_(count * width_), rows_(count) {
        for (const float c : centre_) half_square_ += 0.5 * static_cast<double>(c) * static_cast<double>(c);
    }

    // Row `row` becomes the vector `factor * vector` of length 1 (or 0) at a level.
    void set(int64_t row, const float* vector, double factor, double level) {
        std::vector<float> residual(channels_);
        double along = 0.0, square = 0.0;
        float highest = 0.0f;
        for (int64_t c = 0; c < channels_; ++c) {
            const double value = factor * static_cast<double>(vector[c]), centre = static_cast<double>(centre_[c]);
            along += value * centre;
            residual[c] = static_cast<float>(value - centre);
            square += (value - centre) * (value - centre);
            highest = std::max(highest, std::abs(residual[c]));
        }
        const float scale = highest / largest_, inverse = highest > 0.0f ? largest_ / highest : 0.0f;
        int8_t* numbers = numbers_.data() + row * width_;
        double lost = 0.0;
        for (int64_t c = 0; c < channels_; ++c) {
            const float number = std::nearbyint(residual[c] * inverse);
            numbers[c] = static_cast<int8_t>(number);
            const double rest = static_cast<double>(residual[c]) - static_cast<double>(scale) * static_cast<double>(number);
            lost += rest * rest;
        }
        std::fill(numbers + channels_, numbers + width_, int8_t{0});
        constexpr double up = 1.0 + 1e-6, unseen = 1e-6;  // what rounding to single precision may hide
        rows_.scale[row] = scale;
        rows_.level[row] = static_cast<float>(along - half_square_ + level);
        rows_.lost[row] = static_cast<float>(std::sqrt(lost) * up + unseen);
        rows_.norm[row] = static_cast<float>((std::sqrt(square) + std::sqrt(lost)) * up + unseen);
    }

    void copy(int64_t from, int64_t to) {
        std::copy_n(numbers_.data() + from * width_, width_, numbers_.data() + to * width_);
        for (std::vector<float>* values : {&rows_.scale, &rows_.level, &rows_.lost, &rows_.norm})
            (*values)[to] = (*values)[from];
    }

    // For each of `queries` (1 or `group`) rows from `first` on and each of the rows begin..end: the cosine plus both levels is
    // within middle +- radius. Both are [queries][end - begin].
    void bounds(int64_t first, int queries, int64_t begin, int64_t end, float* middle, float* radius) const {
        constexpr int64_t tile = 256;
        std::vector<int16_t> wide(numbers_.begin() + first * width_, numbers_.begin() + (first + queries) * width_);
        int32_t products[group * tile];
        const int64_t count = end - begin;
        for (int64_t from = begin; from < end; from += tile) {
            const int64_t to = std::min(from + tile, end);
            (queries == 1 ? one_ : many_)(wide.data(), numbers_.data(), width_, from, to, products);
            for (int q = 0; q < queries; ++q) {
                const float scale = rows_.scale[first + q], level = rows_.level[first + q];
                const float lost = rows_.lost[first + q], norm = rows_.norm[first + q];
                const int32_t* product = products + q * (to - from);
                float *const out = middle + q * count + from - begin, *const within = radius + q * count + from - begin;
                for (int64_t i = 0; i < to - from; ++i) {
                    out[i] = static_cast<float>(product[i]) * (scale * rows_.scale[from + i]) + (level + rows_.level[from + i]);
                    within[i] = lost * rows_.norm[from + i] + norm * rows_.lost[from + i] + 4e-6f;
                }
            }
        }
    }

  private:
    struct Rows {
        std::vector<float> scale, level, lost, norm;  // norm: not below that of the residual nor that of its sketch
        explicit Rows(int64_t count) : scale(count), level(count), lost(count), norm(count) {}
    };
    using Products = void (*)(const int16_t*, const int8_t*, int64_t, int64_t, int64_t, int32_t*);

    const Products one_ = use_avx2() ? sketch_products_avx2<1> : sketch_products_baseline<1>;
    const Products many_ = use_avx2() ? sketch_products_avx2<group> : sketch_products_baseline<group>;
    int64_t channels_, width_;
    float largest_;
    double half_square_ = 0.0;
    std::vector<float> centre_;
    Buffer<int8_t> numbers_;  // [count][width]
    Rows rows_;
};

}  // namespace icd
