// Permutohedral lattice (Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer
// Graphics Forum 29(2), 2010), written from the paper.
//
// Points of d features are mapped to the hyperplane in d + 1 dimensions whose coordinates sum to 0, scaled so that the
// blur below has standard deviation 1 in feature space. The lattice tiles it with simplices. Splat: each point gives its
// values to the d + 1 corners of its simplex by barycentric weights. Blur: along each of the d + 1 axes in turn with
// (1/2, 1, 1/2), over existing vertices only. Slice: each point reads back with the same weights.
//
// A vertex's coordinates are packed into one 64-bit key, such that a step along an axis is one addition. The image is cut
// into bands of rows. Each band numbers its own vertices, in order of first appearance, and its pixels give to and take from its own
// copies of them, called slots; between splat and blur the slots of a vertex are added up in the order of the bands. So
// bands are independent of each other, the copies of one stay in the fast caches, and since there are as many bands for any
// number of threads, so is every sum.
//
// Cost for n points, m vertices, s slots (between m and bands * m), l values: O(n d^2 + (s + m d)) hash look-ups once, then
// O((n d + s + m d) l) a filtering.
#include "permutohedral.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "permutohedral_embedding.h"
#include "vectorize.h"

namespace icd {
namespace {

constexpr int64_t least = 4096;  // points or vertices that are worth a thread
using Share = Lattice::Share;

// The coordinates that pixels can have in the feature space.
struct Coordinates {
    std::vector<float> place, colour;

    explicit Coordinates(const FeatureSpace& space) {
        for (int64_t i = 0; i < std::max(space.width, space.height); ++i)
            place.push_back(static_cast<float>(i) / space.sxy);
        for (int value = 0; value < 256; ++value) colour.push_back(static_cast<float>(value) / space.srgb);
    }
};

template <int dimensions>
Embedding<dimensions> embedding_of(const FeatureSpace& space) {
    const float colours = 256.0f / space.srgb;
    const float ranges[5] = {static_cast<float>(space.width) / space.sxy, static_cast<float>(space.height) / space.sxy,
                             colours, colours, colours};
    return Embedding<dimensions>(ranges);
}

// Call use(std::integral_constant<int, lanes>).
template <class Use>
void with_lanes(int lanes, const Use& use) {
    switch (lanes) {
        case 2: return use(std::integral_constant<int, 2>{});
        case 4: return use(std::integral_constant<int, 4>{});
        case 8: return use(std::integral_constant<int, 8>{});
        case 16: return use(std::integral_constant<int, 16>{});
        default: return use(std::integral_constant<int, 24>{});
    }
}

template <int lanes, int corners>
ICD_INLINE void splat_pixels_of(const Share* share, int64_t count, const float* in, int64_t stride, float* slots) {
    for (int64_t p = 0; p < count; ++p, in += stride) {
        const Group<lanes> value = Group<lanes>::at(in);
        for (int corner = 0; corner < corners; ++corner, ++share) {
            float* const to = slots + share->vertex * int64_t{lanes};
            Group<lanes> sum = Group<lanes>::at(to);
            for (int i = 0; i < Group<lanes>::count; ++i) sum.part[i] += share->weight * value.part[i];
            sum.store_at(to);
        }
    }
}
template <int lanes>
ICD_INLINE void splat_pixels_body(const Share* share, int corners, int64_t count, const float* in, int64_t stride,
                                  float* slots) {
    if (corners == 3)
        splat_pixels_of<lanes, 3>(share, count, in, stride, slots);
    else
        splat_pixels_of<lanes, 6>(share, count, in, stride, slots);
}
ICD_DISPATCH_LANES(splat_pixels,
                   (const Share* share, int corners, int64_t count, const float* in, int64_t stride, float* slots),
                   (share, corners, count, in, stride, slots))

template <int lanes, int corners>
ICD_INLINE void slice_pixels_of(const Share* share, int64_t count, float scale, const float* slots, const float* in,
                                float* out, int64_t stride) {
    for (int64_t p = 0; p < count; ++p, in += stride, out += stride) {
        Group<lanes> sum = Group<lanes>::zero(), value = Group<lanes>::at(in);
        for (int corner = 0; corner < corners; ++corner, ++share)
            sum.add(share->weight, slots + share->vertex * int64_t{lanes});
        for (int i = 0; i < Group<lanes>::count; ++i) value.part[i] += scale * sum.part[i];
        value.store_at(out);
    }
}

template <int lanes>
ICD_INLINE void blur_vertices_body(const int32_t* pairs, int64_t begin, int64_t end, const float* from, float* to) {
    for (int64_t v = begin; v < end; ++v) {
        Group<lanes> centre = Group<lanes>::at(from + v * lanes);
        Group<lanes> sides = Group<lanes>::at(from + pairs[2 * v] * int64_t{lanes});
        const Group<lanes> other = Group<lanes>::at(from + pairs[2 * v + 1] * int64_t{lanes});
        for (int i = 0; i < Group<lanes>::count; ++i) centre.part[i] += 0.5f * (sides.part[i] + other.part[i]);
        centre.store_at(to + v * lanes);
    }
}
template <int lanes>
ICD_INLINE void slice_pixels_body(const Share* share, int corners, int64_t count, float scale, const float* slots,
                                  const float* in, float* out, int64_t stride) {
    if (corners == 3)
        slice_pixels_of<lanes, 3>(share, count, scale, slots, in, out, stride);
    else
        slice_pixels_of<lanes, 6>(share, count, scale, slots, in, out, stride);
}
ICD_DISPATCH_LANES(slice_pixels,
                   (const Share* share, int corners, int64_t count, float scale, const float* slots, const float* in,
                    float* out, int64_t stride),
                   (share, corners, count, scale, slots, in, out, stride))
ICD_DISPATCH_LANES(blur_vertices, (const int32_t* pairs, int64_t begin, int64_t end, const float* from, float* to),
                   (pairs, begin, end, from, to))

}  // namespace

Bands::Bands(int64_t height, int64_t width)
    : height_(height), width_(width),
      count_(std::min<int64_t>({height, 64, 4 * std::max<int64_t>(1, (height * width + 32768) / 65536)})) {}

Lattice::Lattice(const FeatureSpace& space, int threads)
    : bands_(space.height, space.width), pixels_(space.height * space.width), corners_(space.rgb ? 6 : 3),
      shares_(pixels_ * corners_) {
    if (space.rgb)
        build<5>(space, threads);
    else
        build<2>(space, threads);
    normalise(threads);
}

// Place the pixels of a band; returns the keys of its vertices.
template <int dimensions>
std::vector<uint64_t> Lattice::build_band(const FeatureSpace& space, int64_t band) {
    constexpr int corners = dimensions + 1;
    constexpr int64_t ahead = 8 * corners;
    const Embedding<dimensions> embedding = embedding_of<dimensions>(space);
    const Coordinates coordinates(space);
    constexpr int64_t length = Embedding<dimensions>::length;
    std::vector<uint64_t> keys((space.width + length) * corners);
    KeyTable table;
    for (int64_t y = bands_.row(band); y < bands_.row(band + 1); ++y) {
        Share* shares = shares_.data() + y * space.width * corners;
        float points[5 * length] = {}, weights[corners * length];
        std::fill_n(points + length, length, coordinates.place[y]);
        for (int64_t x = 0; x < space.width; x += length) {
            const int64_t count = std::min(length, space.width - x);
            for (int64_t l = 0; l < count; ++l) {
                points[l] = coordinates.place[x + l];
                for (int i = 2; i < dimensions; ++i)
                    points[i * length + l] = coordinates.colour[space.rgb[3 * (y * space.width + x + l) + i - 2]];
            }
            embedding.place(points, keys.data() + x * corners, weights);
            for (int64_t l = 0; l < count; ++l)
                for (int corner = 0; corner < corners; ++corner)
                    shares[(x + l) * corners + corner].weight = weights[corner * length + l];
        }
        const int64_t total = space.width * corners;
        for (int64_t i = 0; i < total; ++i) {
            if (i + ahead < total) table.prefetch(keys[i + ahead]);
            const bool as_before = i >= corners && keys[i] == keys[i - corners];
            shares[i].vertex = as_before ? shares[i - corners].vertex : table.number_of(keys[i]);
        }
    }
    return table.keys();
}

template <int dimensions>
void Lattice::build(const FeatureSpace& space, int threads) {
    constexpr int corners = dimensions + 1;
    std::vector<std::vector<uint64_t>> keys_of_bands(bands_.count());
    parallel_for(bands_.count(), threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t band = begin; band < end; ++band) keys_of_bands[band] = build_band<dimensions>(space, band);
    });
    KeyTable table;
    slot_start_.push_back(0);
    for (const std::vector<uint64_t>& keys : keys_of_bands) {
        for (const uint64_t key : keys) slot_vertices_.push_back(table.number_of(key));
        slot_start_.push_back(static_cast<int64_t>(slot_vertices_.size()));
    }
    const Embedding<dimensions> embedding = embedding_of<dimensions>(space);
    if (pixels_ % 4 != 0) {
        // pydensecrf2 works on four pixels at a time and fills the last group up with a black pixel in the upper left
        // corner: it has no value but its vertices take part in the blur.
        constexpr int length = Embedding<dimensions>::length;
        const float origin[dimensions * length] = {};
        uint64_t keys[corners * length];
        float unused[corners * length];
        embedding.place(origin, keys, unused);
        for (int corner = 0; corner < corners; ++corner) table.number_of(keys[corner]);
    }
    const std::vector<uint64_t>& keys = table.keys();
    vertex_count_ = static_cast<int64_t>(keys.size());
    list_slots();
    neighbours_.assign(2 * corners * vertex_count_, static_cast<int32_t>(vertex_count_));
    for (int axis = 0; axis < corners; ++axis) {
        int32_t* pairs = neighbours_.data() + 2 * axis * vertex_count_;
        const uint64_t step = embedding.step(axis);
        parallel_for(vertex_count_, threads, least, [&](int64_t begin, int64_t end) {
            for (int64_t v = begin; v < end; ++v) {
                if (v + 8 < end) table.prefetch(keys[v + 8] + step);
                const int32_t next = table.look_up(keys[v] + step);
                if (next < 0) continue;
                pairs[2 * v] = next;  // a step is one-to-one: no two threads write the same entry
                pairs[2 * next + 1] = static_cast<int32_t>(v);
            }
        });
    }
}

void Lattice::list_slots() {
    vertex_start_.assign(vertex_count_ + 1, 0);
    vertex_slots_.resize(slot_vertices_.size());
    for (const int32_t vertex : slot_vertices_) ++vertex_start_[vertex + 1];
    for (int64_t v = 0; v < vertex_count_; ++v) vertex_start_[v + 1] += vertex_start_[v];
    std::vector<int32_t> next(vertex_start_.begin(), vertex_start_.end() - 1);
    for (size_t slot = 0; slot < slot_vertices_.size(); ++slot)
        vertex_slots_[next[slot_vertices_[slot]]++] = static_cast<int32_t>(slot);
}

void Lattice::normalise(int threads) {
    constexpr int lanes = 2;
    constexpr int64_t piece = 256;
    Values ones = values(lanes);
    const std::vector<float> one(piece * lanes, 1.0f);
    run_together(useful_threads(pixels_, threads, least), [&](const Member& member) {
        member.share(bands_.count(), [&](int64_t begin, int64_t end) {
            for (int64_t band = begin; band < end; ++band) {
                clear(band, ones);
                for (int64_t p = bands_.pixel(band); p < bands_.pixel(band + 1); p += piece)
                    splat(band, p, std::min(piece, bands_.pixel(band + 1) - p), one.data(), lanes, ones);
            }
        });
        filter(member, ones);
        member.share(bands_.count(), [&](int64_t begin, int64_t end) {
            float sums[piece * lanes];
            for (int64_t band = begin; band < end; ++band)
                for (int64_t p = bands_.pixel(band); p < bands_.pixel(band + 1); p += piece) {
                    const int64_t count = std::min(piece, bands_.pixel(band + 1) - p);
                    std::fill_n(sums, count * lanes, 1e-20f);
                    slice(band, p, count, 1.0f, ones, sums, sums, lanes);
                    for (int64_t i = 0; i < count; ++i) {
                        const float factor = 1.0f / std::sqrt(sums[i * lanes]);
                        for (int corner = 0; corner < corners_; ++corner)
                            shares_[(p + i) * corners_ + corner].weight *= factor;
                    }
                }
        });
    });
}

Lattice::Values Lattice::values(int lanes) const {
    const size_t slots = slot_vertices_.size() * lanes, vertices = (vertex_count_ + 1) * lanes;
    Values values{lanes, Buffer<float>(slots), Buffer<float>(slots), Buffer<float>(vertices), Buffer<float>(vertices)};
    for (Buffer<float>* rows : {&values.vertices, &values.blurred}) std::fill(rows->end() - lanes, rows->end(), 0.0f);
    return values;
}

void Lattice::clear(int64_t band, Values& values) const {
    std::fill(values.given.data() + slot_start_[band] * values.lanes,
              values.given.data() + slot_start_[band + 1] * values.lanes, 0.0f);
}

void Lattice::splat(int64_t band, int64_t pixel, int64_t count, const float* in, int64_t stride, Values& values) const {
    float* const slots = values.given.data() + slot_start_[band] * values.lanes;
    with_lanes(values.lanes, [&](auto lanes) {
        splat_pixels<lanes>(shares_.data() + pixel * corners_, corners_, count, in, stride, slots);
    });
}

void Lattice::slice(int64_t band, int64_t pixel, int64_t count, float scale, const Values& values, const float* in,
                    float* out, int64_t stride) const {
    const float* const slots = values.taken.data() + slot_start_[band] * values.lanes;
    with_lanes(values.lanes, [&](auto lanes) {
        slice_pixels<lanes>(shares_.data() + pixel * corners_, corners_, count, scale, slots, in, out, stride);
    });
}

void Lattice::filter(const Member& member, Values& values) const {
    with_lanes(values.lanes, [&](auto lanes) {
        float *from = values.vertices.data(), *to = values.blurred.data();
        member.share(vertex_count_, [&](int64_t begin, int64_t end) {
            for (int64_t v = begin; v < end; ++v) {
                auto sum = Group<lanes>::zero();
                for (int32_t i = vertex_start_[v]; i < vertex_start_[v + 1]; ++i)
                    sum.add(1.0f, values.given.data() + vertex_slots_[i] * int64_t{lanes});
                sum.store_at(from + v * lanes);
            }
        });
        for (int axis = 0; axis < corners_; ++axis, std::swap(from, to))
            member.share(vertex_count_, [&](int64_t begin, int64_t end) {
                blur_vertices<lanes>(neighbours_.data() + 2 * axis * vertex_count_, begin, end, from, to);
            });
        member.share(static_cast<int64_t>(slot_vertices_.size()), [&](int64_t begin, int64_t end) {
            for (int64_t slot = begin; slot < end; ++slot)
                Group<lanes>::at(from + slot_vertices_[slot] * int64_t{lanes})
                    .store_at(values.taken.data() + slot * int64_t{lanes});
        });
    });
}

}  // namespace icd
