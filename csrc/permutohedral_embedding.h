// Which vertices of the permutohedral lattice surround a point, and their numbers: the two tools with which permutohedral.cpp
// builds its lattice. Adams, Baek & Davis 2010, section 3.1. Cost: O(d^2) a point, one expected hash probe a look-up.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "vectorize.h"

namespace icd {

// Maps keys to the numbers 0, 1, ... in order of insertion. Open addressing, at most half full.
class KeyTable {
  public:
    KeyTable() { resize(12); }

    int32_t number_of(uint64_t key) {
        size_t slot = find(key);
        if (slots_[slot].number < 0) {
            slots_[slot] = {key, static_cast<int32_t>(keys_.size())};
            keys_.push_back(key);
            if (2 * keys_.size() > slots_.size()) {
                resize(bits_ + 1);
                slot = find(key);
            }
        }
        return slots_[slot].number;
    }
    int32_t look_up(uint64_t key) const { return slots_[find(key)].number; }
    void prefetch(uint64_t key) const { ICD_PREFETCH(&slots_[place(key)]); }
    const std::vector<uint64_t>& keys() const { return keys_; }

  private:
    struct Slot {
        uint64_t key;
        int32_t number;
    };
    size_t place(uint64_t key) const { return static_cast<size_t>(key * 0x9E3779B97F4A7C15u >> (64 - bits_)); }
    size_t find(uint64_t key) const {
        size_t slot = place(key);
        while (slots_[slot].number >= 0 && slots_[slot].key != key) slot = (slot + 1) & (slots_.size() - 1);
        return slot;
    }
    void resize(int bits) {
        bits_ = bits;
        slots_.assign(size_t{1} << bits, {0, -1});
        for (size_t i = 0; i < keys_.size(); ++i) slots_[find(keys_[i])] = {keys_[i], static_cast<int32_t>(i)};
    }

    int bits_ = 0;
    std::vector<Slot> slots_;
    std::vector<uint64_t> keys_;
};

// Where a point lies: the keys of its simplex's corners and its barycentric weights.
template <int d>
class Embedding {
  public:
    explicit Embedding(const float* ranges) {
        // The blur's standard deviation in lattice units. A point on the border of two simplices falls into one or the other
        // by rounding; these roundings (the one to float, the other in double) give pydensecrf2's choices.
        const float deviation = static_cast<float>(std::sqrt(2.0 / 3.0) * (d + 1));
        for (int i = 0; i < d; ++i)
            scale_[i] = static_cast<float>(1.0 / std::sqrt(static_cast<double>((i + 1) * (i + 2))) * deviation);
        std::array<float, d> low{}, high{};
        for (int i = 0; i < d; ++i) {  // extremes of each coordinate: elevate() is linear
            float end[d] = {}, part[d + 1];
            end[i] = ranges[i];
            elevate(end, part);
            for (int k = 0; k < d; ++k) (part[k] < 0 ? low : high)[k] += part[k];
        }
        double radix = 1.0;
        for (int i = 0; i < d; ++i) {
            offset_[i] = 3 * (d + 1) - static_cast<int64_t>(std::floor(low[i]));
            if (radix > 0x1p62) throw std::invalid_argument("standard deviations too small for the lattice");
            radix_[i] = static_cast<uint64_t>(radix);
            radix *= std::ceil(high[i]) + static_cast<double>(offset_[i]) + 3 * (d + 1);
            small_ = small_ && std::max(high[i], -low[i]) < 0x1p22f;
        }
        if (!(radix < 0x1p62)) throw std::invalid_argument("standard deviations too small for the lattice");
        radix_[d] = 0;  // the last coordinate follows from the others
        for (int i = 0; i < d; ++i) all_ += radix_[i];
    }

    // What to add to a key for one step along an axis; the step back is minus that.
    uint64_t step(int axis) const { return all_ - (d + 1) * radix_[axis]; }

    // Keys, [length][d + 1], and weights, [d + 1][length], of `length` points, [d][length].
    static constexpr int length = 8;
    void place(const float* points, uint64_t* keys, float* weights) const {
        if (use_avx2())
            place_avx2(points, keys, weights);
        else
            place_baseline(points, keys, weights);
    }

  private:
    using Vector = Floats<length>;
    typedef int Ints __attribute__((vector_size(length * sizeof(int))));

    void place_baseline(const float* points, uint64_t* keys, float* weights) const { place_body(points, keys, weights); }
    ICD_AVX2 void place_avx2(const float* points, uint64_t* keys, float* weights) const { place_body(points, keys, weights); }

    ICD_INLINE void place_body(const float* points, uint64_t* keys, float* weights) const {
        Vector coordinates[d], elevated[d + 1], rest[d + 1], sorted[d + 1];  // rest: from the nearest vertex of remainder 0
        Ints nearest[d + 1], rank[d + 1], sum{};
        for (int i = 0; i < d; ++i) load<length>(points + i * length, coordinates[i]);
        elevate(coordinates, elevated);
        for (int i = 0; i <= d; ++i) {
            const Ints multiple = rounded(elevated[i] * (1.0f / (d + 1)));
            nearest[i] = multiple * (d + 1);
            rest[i] = elevated[i] - __builtin_convertvector(nearest[i], Vector);
            rank[i] = Ints{};
            sum += multiple;
        }
        for (int i = 0; i < d; ++i)
            for (int j = i + 1; j <= d; ++j) {
                const Ints smaller = rest[i] < rest[j];  // -1 where true
                rank[i] -= smaller;
                rank[j] += 1 + smaller;
            }
        for (int i = 0; i <= d; ++i) sorted[i] = Vector{};
        for (int i = 0; i <= d; ++i) {  // bring the vertex back onto the hyperplane
            rank[i] += sum;
            const Ints turn = (rank[i] > d) - (rank[i] < 0);
            rank[i] += turn * (d + 1);
            nearest[i] += turn * (d + 1);
            const Vector part = (elevated[i] - __builtin_convertvector(nearest[i], Vector)) * (1.0f / (d + 1));
            for (int r = 0; r <= d; ++r) sorted[r] = rank[i] == r ? part : sorted[r];
        }
        store<length>(sorted[d] + (1.0f - sorted[0]), weights);
        for (int corner = 1; corner <= d; ++corner)
            store<length>(sorted[d - corner] - sorted[d + 1 - corner], weights + corner * length);
        for (int l = 0; l < length; ++l, keys += d + 1) {
            int of_rank[d + 1];
            uint64_t key = 0;
            for (int i = 0; i <= d; ++i) {
                of_rank[rank[i][l]] = i;
                if (i < d) key += static_cast<uint64_t>(nearest[i][l] + offset_[i]) * radix_[i];
            }
            for (int corner = 0; corner <= d; ++corner) {
                keys[corner] = key;
                key += step(of_rank[d - corner]);
            }
        }
    }

    // To the nearest whole number, halves to the even one.
    ICD_INLINE Ints rounded(const Vector& values) const {
        constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds what is below 2^22
        if (small_) return __builtin_convertvector((values + rounder) - rounder, Ints);
        Ints result;
        for (int l = 0; l < length; ++l) result[l] = static_cast<int>(std::lrint(values[l]));
        return result;
    }

    // Where coordinates lie on the hyperplane.
    template <class Number>
    ICD_INLINE void elevate(const Number* point, Number* elevated) const {
        Number sum{};
        for (int i = d; i > 0; --i) {
            const Number scaled = point[i - 1] * scale_[i - 1];
            elevated[i] = sum - static_cast<float>(i) * scaled;
            sum += scaled;
        }
        elevated[0] = sum;
    }

    std::array<float, d> scale_;
    std::array<int64_t, d> offset_;
    std::array<uint64_t, d + 1> radix_;
    uint64_t all_ = 0;
    bool small_ = true;  // all coordinates
};

}  // namespace icd
