// Permutohedral lattice (Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer
// Graphics Forum 29(2), 2010), written from the paper.
//
// Points of d features are mapped to the hyperplane in d + 1 dimensions whose coordinates sum to 0, scaled so that the
// blur below has standard deviation 1 in feature space. The lattice tiles it with simplices. Splat: each point gives its
// values to the d + 1 corners of its simplex by barycentric weights. Blur: along each of the d + 1 axes in turn with
// (1/2, 1, 1/2), over existing vertices only. Slice: each point reads back with the same weights.
//
// Vertices are numbered in order of first appearance. A vertex's coordinates are packed into one 64-bit key, such that a step
// along an axis is one addition. Splatting gathers, vertex by vertex, from a list of points: every sum is taken in the order
// of the points whatever the number of threads.
//
// Cost for n points, m vertices, l values: O(n d^2 + m d) hash look-ups once, then O((n + m) d l) a filtering.
#include "permutohedral.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "parallel.h"
#include "vectorize.h"

namespace icd {
namespace {

constexpr int64_t least = 4096;  // points or vertices that are worth a thread

// Maps keys to the numbers 0, 1, ... in order of insertion. Open addressing, at most half full.
class KeyTable {
  public:
    KeyTable() { resize(18); }

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
            std::array<float, d> end{};
            end[i] = ranges[i];
            const std::array<float, d + 1> part = elevate(end.data());
            for (int k = 0; k < d; ++k) (part[k] < 0 ? low : high)[k] += part[k];
        }
        double radix = 1.0;
        for (int i = 0; i < d; ++i) {
            offset_[i] = 3 * (d + 1) - static_cast<int64_t>(std::floor(low[i]));
            if (radix > 0x1p62) throw std::invalid_argument("standard deviations too small for the lattice");
            radix_[i] = static_cast<uint64_t>(radix);
            radix *= std::ceil(high[i]) + static_cast<double>(offset_[i]) + 3 * (d + 1);
        }
        if (!(radix < 0x1p62)) throw std::invalid_argument("standard deviations too small for the lattice");
        radix_[d] = 0;  // the last coordinate follows from the others
        for (int i = 0; i < d; ++i) all_ += radix_[i];
    }

    // What to add to a key for one step along an axis; the step back is minus that.
    uint64_t step(int axis) const { return all_ - (d + 1) * radix_[axis]; }

    void place(const float* point, uint64_t* keys, float* weights) const {
        const std::array<float, d + 1> elevated = elevate(point);
        std::array<float, d + 1> rest;  // elevated minus the nearest vertex of remainder 0
        std::array<int, d + 1> nearest, rank{};
        int sum = 0;
        for (int i = 0; i <= d; ++i) {
            const int multiple = static_cast<int>(std::floor(elevated[i] * (1.0f / (d + 1)) + 0.5f));
            nearest[i] = multiple * (d + 1);
            rest[i] = elevated[i] - static_cast<float>(nearest[i]);
            sum += multiple;
        }
        for (int i = 0; i < d; ++i)
            for (int j = i + 1; j <= d; ++j) {
                const bool smaller = rest[i] < rest[j];
                rank[i] += smaller;
                rank[j] += !smaller;
            }
        for (int i = 0; i <= d; ++i) {  // bring the vertex back onto the hyperplane
            rank[i] += sum;
            const int turn = rank[i] < 0 ? 1 : (rank[i] > d ? -1 : 0);
            rank[i] += turn * (d + 1);
            nearest[i] += turn * (d + 1);
        }
        std::array<float, d + 2> barycentric{};
        std::array<int, d + 1> of_rank;
        uint64_t key = 0;
        for (int i = 0; i <= d; ++i) {
            const float part = (elevated[i] - static_cast<float>(nearest[i])) * (1.0f / (d + 1));
            barycentric[d - rank[i]] += part;
            barycentric[d + 1 - rank[i]] -= part;
            of_rank[rank[i]] = i;
            if (i < d) key += static_cast<uint64_t>(nearest[i] + offset_[i]) * radix_[i];
        }
        barycentric[0] += 1.0f + barycentric[d + 1];
        for (int corner = 0; corner <= d; ++corner) {
            keys[corner] = key;
            weights[corner] = barycentric[corner];
            key += step(of_rank[d - corner]);
        }
    }

  private:
    std::array<float, d + 1> elevate(const float* point) const {
        std::array<float, d + 1> elevated;
        float sum = 0.0f;
        for (int i = d; i > 0; --i) {
            const float scaled = point[i - 1] * scale_[i - 1];
            elevated[i] = sum - static_cast<float>(i) * scaled;
            sum += scaled;
        }
        elevated[0] = sum;
        return elevated;
    }

    std::array<float, d> scale_;
    std::array<int64_t, d> offset_;
    std::array<uint64_t, d + 1> radix_;
    uint64_t all_ = 0;
};

}  // namespace

Lattice::Lattice(const float* positions, int64_t count, int dimensions, const float* ranges, int threads)
    : count_(count), corners_(dimensions + 1), vertices_(count * corners_), weights_(count * corners_) {
    if (dimensions == 2)
        build<2>(positions, ranges, threads);
    else
        build<5>(positions, ranges, threads);
    list_points_of_vertices();
    normalise(threads);
}

template <int dimensions>
void Lattice::build(const float* positions, const float* ranges, int threads) {
    constexpr int corners = dimensions + 1;
    const Embedding<dimensions> embedding(ranges);
    std::vector<uint64_t> keys(count_ * corners);
    parallel_for(count_, threads, least, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p)
            embedding.place(positions + p * dimensions, keys.data() + p * corners, weights_.data() + p * corners);
    });
    KeyTable table;
    const int64_t total = count_ * corners, ahead = 8 * corners;
    for (int64_t i = 0; i < total; ++i) {
        if (i + ahead < total) table.prefetch(keys[i + ahead]);
        const bool as_before = i >= corners && keys[i] == keys[i - corners];
        vertices_[i] = as_before ? vertices_[i - corners] : table.number_of(keys[i]);
    }
    const std::vector<uint64_t>& vertex_keys = table.keys();
    vertex_count_ = static_cast<int64_t>(vertex_keys.size());
    const int32_t none = static_cast<int32_t>(vertex_count_);
    neighbours_.assign(2 * corners * vertex_count_, none);
    for (int axis = 0; axis < corners; ++axis) {
        int32_t* pairs = neighbours_.data() + 2 * axis * vertex_count_;
        const uint64_t step = embedding.step(axis);
        parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
            for (int64_t v = begin; v < end; ++v) {
                if (v + 8 < end) table.prefetch(vertex_keys[v + 8] + step);
                const int32_t next = table.look_up(vertex_keys[v] + step);
                if (next < 0) continue;
                pairs[2 * v] = next;  // a step is one-to-one: no two threads write the same entry
                pairs[2 * next + 1] = static_cast<int32_t>(v);
            }
        });
    }
}

void Lattice::list_points_of_vertices() {
    list_start_.assign(vertex_count_ + 1, 0);
    list_points_.resize(vertices_.size());
    list_weights_.resize(vertices_.size());
    for (const int32_t vertex : vertices_) ++list_start_[vertex + 1];
    for (int64_t v = 0; v < vertex_count_; ++v) list_start_[v + 1] += list_start_[v];
    std::vector<int32_t> next(list_start_.begin(), list_start_.end() - 1);
    for (size_t i = 0; i < vertices_.size(); ++i) {
        const int32_t place = next[vertices_[i]]++;
        list_points_[place] = static_cast<int32_t>(i / corners_);
        list_weights_[place] = weights_[i];
    }
}

void Lattice::normalise(int threads) {
    constexpr int lanes = 2;
    std::vector<float> ones(count_ * lanes, 1.0f), sums(count_ * lanes, 0.0f);
    filter(ones.data(), sums.data(), lanes, lanes, 1.0f, threads);
    for (int64_t p = 0; p < count_; ++p) {
        const float factor = 1.0f / std::sqrt(sums[p * lanes] + 1e-20f);
        for (int corner = 0; corner < corners_; ++corner) weights_[p * corners_ + corner] *= factor;
        sums[p * lanes] = factor;
    }
    for (size_t i = 0; i < list_points_.size(); ++i) list_weights_[i] *= sums[list_points_[i] * lanes];
}

void Lattice::filter(const float* in, float* out, int64_t stride, int lanes, float scale, int threads) const {
    switch (lanes) {
        case 2: return filter_lanes<2>(in, out, stride, scale, threads);
        case 4: return filter_lanes<4>(in, out, stride, scale, threads);
        case 8: return filter_lanes<8>(in, out, stride, scale, threads);
        default: return filter_lanes<16>(in, out, stride, scale, threads);
    }
}

template <int lanes>
void Lattice::filter_lanes(const float* in, float* out, int64_t stride, float scale, int threads) const {
    // One more row, all zero, stands for missing neighbours.
    std::vector<float> values((vertex_count_ + 1) * lanes), blurred((vertex_count_ + 1) * lanes);
    parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            float sum[lanes] = {};
            for (int32_t i = list_start_[v]; i < list_start_[v + 1]; ++i) {
                const float* value = in + list_points_[i] * stride;
                for (int l = 0; l < lanes; ++l) sum[l] += list_weights_[i] * value[l];
            }
            std::copy_n(sum, lanes, values.data() + v * lanes);
        }
    });
    for (int axis = 0; axis < corners_; ++axis) {
        const int32_t* pairs = neighbours_.data() + 2 * axis * vertex_count_;
        parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
            for (int64_t v = begin; v < end; ++v) {
                const float* centre = values.data() + v * lanes;
                const float* next = values.data() + pairs[2 * v] * int64_t{lanes};
                const float* previous = values.data() + pairs[2 * v + 1] * int64_t{lanes};
                float* to = blurred.data() + v * lanes;
                for (int l = 0; l < lanes; ++l) to[l] = centre[l] + 0.5f * (next[l] + previous[l]);
            }
        });
        values.swap(blurred);
    }
    parallel_for(count_, threads, least, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            float sum[lanes] = {};
            for (int corner = 0; corner < corners_; ++corner) {
                const float weight = weights_[p * corners_ + corner];
                const float* value = values.data() + vertices_[p * corners_ + corner] * int64_t{lanes};
                for (int l = 0; l < lanes; ++l) sum[l] += weight * value[l];
            }
            for (int l = 0; l < lanes; ++l) out[p * stride + l] += scale * sum[l];
        }
    });
}

}  // namespace icd
