// Bounds on the cosines of many vectors, from 8-bit sketches of them. See region_sketch.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"

namespace icd {

// The sketches of rows 0..count-1. Every row has a level of its own, which is added to what is bounded: the cosine of two rows
// plus both levels.
class Sketches {
  public:
    static constexpr int group = 8;      // rows that are compared together
    static constexpr int64_t tile = 64;  // rows that they are compared with together
    static constexpr int64_t most_channels = int64_t{1} << 20;

    // A vector in 16 bits.
    struct Fine {
        std::vector<int16_t> numbers;
        float scale, level, lost, norm;
    };

    // `centre` has as many channels as the vectors.
    Sketches(int64_t count, const std::vector<float>& centre);

    // Row `row` becomes the vector `factor * vector`, of length 1 or 0, at a level.
    void set(int64_t row, const float* vector, double factor, double level);
    void copy(int64_t from, int64_t to);
    Fine fine(const float* vector, double factor, double level) const;

    // For each of `queries` (1 or `group`) rows from `first` on: what is bounded for each of the rows begin..end is not above
    // `upper`, [queries][end - begin]. The highest of every `tile` of these follow in `highest`, [queries][tiles].
    void upper_bounds(int64_t first, int queries, int64_t begin, int64_t end, float* upper, float* highest) const;
    // Take the rows begin..end, of one tile, out of such bounds of `count` rows.
    static void exclude(int64_t begin, int64_t end, int64_t count, float* upper, float* highest);
    static int64_t tiles_of(int64_t rows) { return (rows + tile - 1) / tile; }

    // What is bounded is not above this.
    float upper_bound(const Fine& one, int64_t row) const;

  private:
    struct Rows {
        std::vector<float> scale, level, lost, lost_by_half, norm;  // norm: that of residual and sketches is not above it
        std::vector<int32_t> sum_of_halves;
        explicit Rows(int64_t count)
            : scale(count), level(count), lost(count), lost_by_half(count), norm(count), sum_of_halves(count) {}
    };
    struct Residual {
        std::vector<float> values;  // padded with 0
        float highest, level, norm;
    };

    float limit(double wanted, double other) const;
    float length_above(float square) const;
    Residual residual(const float* vector, double factor, double level) const;
    float upper_bounds_of_tile(int64_t one, int64_t from, int64_t rows, const int32_t* products,
                               float* upper) const;

    int64_t channels_, width_;
    float largest_, largest_fine_;
    double half_square_ = 0.0;
    std::vector<float> centre_;  // padded with 0
    Buffer<uint8_t> numbers_;    // [count][width], `zero` more than the sketch's numbers
    Buffer<int8_t> halves_;      // [count][width]: half the sketch's numbers
    Rows rows_;
};

}  // namespace icd
