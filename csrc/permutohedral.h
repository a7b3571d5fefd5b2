// Gaussian filtering of per-pixel values in a space of positions and colours, on a permutohedral lattice. See
// permutohedral.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"
#include "parallel.h"

namespace icd {

// What two pixels are compared by: positions divided by `sxy`, and, unless `rgb` is null, colours divided by `srgb`.
struct FeatureSpace {
    int64_t height, width;
    float sxy;
    const uint8_t* rgb;  // (height, width, 3)
    float srgb;
};

// An image in bands of whole rows, which are worked on one by one: as many for any number of threads.
class Bands {
  public:
    Bands(int64_t height, int64_t width);
    int64_t count() const { return count_; }
    int64_t row(int64_t band) const { return height_ * band / count_; }  // where it begins
    int64_t pixel(int64_t band) const { return row(band) * width_; }

  private:
    int64_t height_, width_, count_;
};

class Lattice {
  public:
    static constexpr int most_lanes = 24;

    // What is filtered together, on its way through the lattice.
    struct Values {
        int lanes;
        Buffer<float> given, taken;      // of each band's vertices: what its pixels gave, what they will take
        Buffer<float> vertices, blurred; // and one more row, all zero, for missing neighbours
    };

    // Throws std::invalid_argument if the standard deviations are too small to number the vertices.
    // After construction the filter is normalised symmetrically: D^-1/2 K D^-1/2 with D = K 1.
    Lattice(const FeatureSpace& space, int threads);

    Values values(int lanes) const;  // 2, 4, 8, 16 or 24

    // Filtering takes four steps. Bands may be splat in any order, and their pixels piece by piece in ascending order;
    // filter() is called by all members of a team once all bands are complete; then each piece of a band can be sliced.
    // `in` and `out` belong to the first of `count` pixels; the next pixel's values lie `stride` floats further.
    void clear(int64_t band, Values& values) const;
    void splat(int64_t band, int64_t pixel, int64_t count, const float* in, int64_t stride, Values& values) const;
    void filter(const Member& member, Values& values) const;
    // `out` becomes `in` plus `scale` times the filtered values.
    void slice(int64_t band, int64_t pixel, int64_t count, float scale, const Values& values, const float* in, float* out,
               int64_t stride) const;

    struct Share {  // a pixel gives and takes at a vertex by this weight
        int32_t vertex;  // by the band's numbers
        float weight;
    };

  private:
    template <int dimensions>
    void build(const FeatureSpace& space, int threads);
    template <int dimensions>
    std::vector<uint64_t> build_band(const FeatureSpace& space, int64_t band);
    void list_slots();
    void normalise(int threads);

    Bands bands_;
    int64_t pixels_;
    int corners_;  // of a simplex: dimensions + 1
    int64_t vertex_count_ = 0;
    Buffer<Share> shares_;               // [pixels][corners]: the vertices around a pixel, by barycentric weights
    std::vector<int64_t> slot_start_;    // [bands + 1]: where the vertices of a band begin in slots
    std::vector<int32_t> slot_vertices_; // [slots]: the lattice's number of each vertex of each band
    std::vector<int32_t> vertex_start_;  // [vertices + 1]: where a vertex begins in vertex_slots_
    std::vector<int32_t> vertex_slots_;  // [slots]: the slots of each vertex, in ascending order
    Buffer<int32_t> neighbours_;         // [corners][vertices][2]: along each axis; vertex_count for "none"
};

}  // namespace icd
