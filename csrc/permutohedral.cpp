// Permutohedral lattice (Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer
// Graphics Forum 29(2), 2010), written from the paper.
//
// Points of d features are mapped to the hyperplane in d + 1 dimensions whose coordinates sum to 0, scaled so that the
// blur below has standard deviation 1 in feature space. The lattice tiles it with simplices. Splat: each point gives its
// values to the d + 1 corners of its simplex by barycentric weights. Blur: along each of the d + 1 axes in turn with
// (1/2, 1, 1/2), over existing vertices only. Slice: each point reads back with the same weights.
//
// Vertices are numbered in order of first appearance. A vertex's coordinates are packed into one 64-bit key, such that a step
// along an axis is one addition. Every sum over points is taken in the order of the points: one thread scatters them, several
// gather them vertex by vertex from a list.
//
// Cost for n points, m vertices, l values: O(n d^2 + m d) hash look-ups once, then O((n + m) d l) a filtering.
#include "permutohedral.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"
#include "permutohedral_embedding.h"
#include "vectorize.h"

namespace icd {
namespace {

constexpr int64_t least = 4096;  // points or vertices that are worth a thread

// The coordinates that pixels can have in the feature space.
struct Coordinates {
    std::vector<float> place, colour;

    explicit Coordinates(const FeatureSpace& space) {
        for (int64_t i = 0; i < std::max(space.width, space.height); ++i)
            place.push_back(static_cast<float>(i) / space.sxy);
        for (int value = 0; value < 256; ++value) colour.push_back(static_cast<float>(value) / space.srgb);
    }
};

// Keys and weights of a row of pixels; successive weights lie two floats apart.
template <int dimensions>
void embed_row(const Embedding<dimensions>& embedding, const Coordinates& coordinates, const FeatureSpace& space,
               int64_t y, uint64_t* keys, float* weights) {
    constexpr int corners = dimensions + 1;
    float point[5] = {0.0f, coordinates.place[y]}, row_weights[corners];
    for (int64_t x = 0; x < space.width; ++x, keys += corners) {
        point[0] = coordinates.place[x];
        for (int i = 2; i < dimensions; ++i)
            point[i] = coordinates.colour[space.rgb[3 * (y * space.width + x) + i - 2]];
        embedding.place(point, keys, row_weights);
        for (int corner = 0; corner < corners; ++corner, weights += 2) *weights = row_weights[corner];
    }
}

}  // namespace

Lattice::Lattice(const FeatureSpace& space, int threads)
    : count_(space.height * space.width), corners_(space.rgb ? 6 : 3), of_pixel_(count_ * corners_) {
    if (space.rgb)
        build<5>(space, threads);
    else
        build<2>(space, threads);
    if (threads > 1) list_pixels_of_vertices();
    normalise(threads);
}

template <int dimensions>
void Lattice::build(const FeatureSpace& space, int threads) {
    constexpr int corners = dimensions + 1;
    const float colours = 256.0f / space.srgb;
    const float ranges[5] = {static_cast<float>(space.width) / space.sxy, static_cast<float>(space.height) / space.sxy,
                             colours, colours, colours};
    const Embedding<dimensions> embedding(ranges);
    const Coordinates coordinates(space);
    const int64_t rows = std::max<int64_t>(1, 4 * least * threads / space.width);  // embedded before they are numbered
    Buffer<uint64_t> keys(std::min(rows, space.height) * space.width * corners);
    KeyTable table;
    for (int64_t first = 0; first < space.height; first += rows) {
        const int64_t last = std::min(first + rows, space.height), total = (last - first) * space.width * corners;
        const int64_t ahead = 8 * corners;
        Share* shares = of_pixel_.data() + first * space.width * corners;
        parallel_for(last - first, threads, 1 + least / space.width, [&](int64_t begin, int64_t end) {
            for (int64_t y = begin; y < end; ++y)
                embed_row<dimensions>(embedding, coordinates, space, first + y, keys.data() + y * space.width * corners,
                                      &shares[y * space.width * corners].weight);
        });
        for (int64_t i = 0; i < total; ++i) {
            if (i + ahead < total) table.prefetch(keys[i + ahead]);
            const bool as_before = i >= corners && keys[i] == keys[i - corners];
            shares[i].partner = as_before ? shares[i - corners].partner : table.number_of(keys[i]);
        }
    }
    if (count_ % 4 != 0) {
        // pydensecrf2 works on four pixels at a time and fills the last group up with a black pixel in the upper left
        // corner: it has no value but its vertices take part in the blur.
        const float origin[dimensions] = {};
        float unused[corners];
        embedding.place(origin, keys.data(), unused);
        for (int corner = 0; corner < corners; ++corner) table.number_of(keys[corner]);
    }
    const std::vector<uint64_t>& vertex_keys = table.keys();
    vertex_count_ = static_cast<int64_t>(vertex_keys.size());
    neighbours_.assign(2 * corners * vertex_count_, static_cast<int32_t>(vertex_count_));
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

void Lattice::list_pixels_of_vertices() {
    vertex_start_.assign(vertex_count_ + 1, 0);
    of_vertex_.resize(of_pixel_.size());
    for (const Share& share : of_pixel_) ++vertex_start_[share.partner + 1];
    for (int64_t v = 0; v < vertex_count_; ++v) vertex_start_[v + 1] += vertex_start_[v];
    std::vector<int32_t> next(vertex_start_.begin(), vertex_start_.end() - 1);
    const Share* share = of_pixel_.data();
    for (int32_t pixel = 0; pixel < count_; ++pixel)
        for (int corner = 0; corner < corners_; ++corner, ++share)
            of_vertex_[next[share->partner]++] = {pixel, share->weight};
}

void Lattice::normalise(int threads) {
    constexpr int lanes = 2;
    Buffer<float> ones(count_ * lanes, 1.0f), sums(count_ * lanes, 1e-20f), values, scratch;
    spread({ones.data(), lanes, lanes}, values, scratch, threads);
    parallel_for(count_, threads, least, [&](int64_t begin, int64_t end) {
        collect(values, begin, end, 1.0f, {sums.data() + begin * lanes, lanes, lanes});
        for (int64_t p = begin; p < end; ++p) {
            sums[p * lanes] = 1.0f / std::sqrt(sums[p * lanes]);
            for (int corner = 0; corner < corners_; ++corner) of_pixel_[p * corners_ + corner].weight *= sums[p * lanes];
        }
    });
    for (Share& share : of_vertex_) share.weight *= sums[share.partner * lanes];
}

// Both ways add the pixels of a vertex in the same order. Without threads no list of them is needed.
template <int lanes>
void Lattice::splat(const PixelValues& in, float* values, int threads) const {
    using Vector = Floats<lanes>;
    if (of_vertex_.empty()) {
        std::fill_n(values, vertex_count_ * lanes, 0.0f);
        const Share* share = of_pixel_.data();
        for (int64_t p = 0; p < count_; ++p) {
            Vector value, sum;
            load<lanes>(in.first + p * in.stride, value);
            for (int corner = 0; corner < corners_; ++corner, ++share) {
                float* to = values + share->partner * int64_t{lanes};
                load<lanes>(to, sum);
                store<lanes>(sum + share->weight * value, to);
            }
        }
        return;
    }
    parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            Vector sum{}, value;
            for (int32_t i = vertex_start_[v]; i < vertex_start_[v + 1]; ++i) {
                load<lanes>(in.first + of_vertex_[i].partner * in.stride, value);
                sum += of_vertex_[i].weight * value;
            }
            store<lanes>(sum, values + v * lanes);
        }
    });
}

template <int lanes>
void Lattice::blur(int axis, const float* values, float* blurred, int threads) const {
    const int32_t* pairs = neighbours_.data() + 2 * axis * vertex_count_;
    parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) {
            Floats<lanes> centre, next, previous;
            load<lanes>(values + v * lanes, centre);
            load<lanes>(values + pairs[2 * v] * int64_t{lanes}, next);
            load<lanes>(values + pairs[2 * v + 1] * int64_t{lanes}, previous);
            store<lanes>(centre + 0.5f * (next + previous), blurred + v * lanes);
        }
    });
}

template <int lanes>
void Lattice::spread_lanes(const PixelValues& in, Buffer<float>& values, Buffer<float>& scratch, int threads) const {
    for (Buffer<float>* rows : {&values, &scratch}) {  // one more row, all zero, stands for missing neighbours
        rows->resize((vertex_count_ + 1) * lanes);
        std::fill_n(rows->begin() + vertex_count_ * lanes, lanes, 0.0f);
    }
    splat<lanes>(in, values.data(), threads);
    for (int axis = 0; axis < corners_; ++axis) {
        blur<lanes>(axis, values.data(), scratch.data(), threads);
        values.swap(scratch);
    }
}

template <int lanes>
void Lattice::collect_lanes(const float* values, int64_t begin, int64_t end, float scale,
                            const PixelValues& out) const {
    const Share* share = of_pixel_.data() + begin * corners_;
    for (int64_t p = 0; p < end - begin; ++p) {
        Floats<lanes> sum{}, value;
        for (int corner = 0; corner < corners_; ++corner, ++share) {
            load<lanes>(values + share->partner * int64_t{lanes}, value);
            sum += share->weight * value;
        }
        load<lanes>(out.first + p * out.stride, value);
        store<lanes>(value + scale * sum, out.first + p * out.stride);
    }
}

void Lattice::spread(const PixelValues& in, Buffer<float>& vertex_values, Buffer<float>& scratch, int threads) const {
    switch (in.lanes) {
        case 2: return spread_lanes<2>(in, vertex_values, scratch, threads);
        case 4: return spread_lanes<4>(in, vertex_values, scratch, threads);
        case 8: return spread_lanes<8>(in, vertex_values, scratch, threads);
        default: return spread_lanes<16>(in, vertex_values, scratch, threads);
    }
}

void Lattice::collect(const Buffer<float>& vertex_values, int64_t begin, int64_t end, float scale,
                      const PixelValues& out) const {
    switch (out.lanes) {
        case 2: return collect_lanes<2>(vertex_values.data(), begin, end, scale, out);
        case 4: return collect_lanes<4>(vertex_values.data(), begin, end, scale, out);
        case 8: return collect_lanes<8>(vertex_values.data(), begin, end, scale, out);
        default: return collect_lanes<16>(vertex_values.data(), begin, end, scale, out);
    }
}

}  // namespace icd
