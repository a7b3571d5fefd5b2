// Gaussian filtering of per-pixel values in a feature space, on a permutohedral lattice. See permutohedral.cpp.
#pragma once

#include <cstdint>
#include <vector>

namespace icd {

class Lattice {
  public:
    // `positions`: `count` points of `dimensions` (2 or 5) features each, 0 <= feature < ranges[dimension], already divided
    // by their standard deviations. Throws std::invalid_argument if the ranges are too large to number the vertices.
    // After construction the filter is normalised symmetrically: D^-1/2 K D^-1/2 with D = K 1.
    Lattice(const float* positions, int64_t count, int dimensions, const float* ranges, int threads);

    // out[p][l] += scale * sum over q of kernel(p, q) * in[q][l] for `lanes` (2, 4, 8 or 16) values l of each point;
    // successive points lie `stride` floats apart.
    void filter(const float* in, float* out, int64_t stride, int lanes, float scale, int threads) const;

    int64_t vertex_count() const { return vertex_count_; }

  private:
    template <int dimensions>
    void build(const float* positions, const float* ranges, int threads);
    void list_points_of_vertices();
    void normalise(int threads);
    template <int lanes>
    void filter_lanes(const float* in, float* out, int64_t stride, float scale, int threads) const;

    int64_t count_;
    int corners_;                      // of a simplex: dimensions + 1
    int64_t vertex_count_ = 0;
    std::vector<int32_t> vertices_;    // [count][corners]: the vertices around a point ...
    std::vector<float> weights_;       // [count][corners]: ... and its barycentric weights, later normalised
    std::vector<int32_t> neighbours_;  // [corners][vertex_count][2]: along each axis; vertex_count for "none"
    std::vector<int32_t> list_start_;  // [vertex_count + 1]: the points of each vertex in ascending order ...
    std::vector<int32_t> list_points_;
    std::vector<float> list_weights_;  // ... and their weights
};

}  // namespace icd
