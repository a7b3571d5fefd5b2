// Random walk with pixel affinities (PSA, CVPR 2018, spec 5.3; IRN, CVPR 2019, spec 5).
//
// A is symmetric with 1 on the diagonal and the affinities of near pixels elsewhere. With T = A^beta (element by element),
// each column divided by its sum, the walk is M T^steps. The originals square a dense matrix. Here one step is
//
//     x'(j) = x(j) + 1/s(j) * sum over offsets d of W_d(j) (x(j + d) - x(j)) + W_d(j - d) (x(j - d) - x(j))
//
// taken `steps` times, W = affinity^beta, s = column sum: a stencil without an index array. Written with differences, it
// leaves even regions exactly as they are, so that rounding errors do not add up over the steps. Everything lies on a grid
// padded with zeros by the stencil's reach, so that no step looks at borders. Sums are in float32 in a fixed order; W and s
// are computed in double precision.
//
// Cost: O(nodes * offsets) a step and plane; memory 4 (offsets + 2 planes + 1) bytes a node. A block of columns and up to
// four planes stay in registers while the offsets are run through; the weights of a row lie together and those of the next
// row are fetched ahead, because a step reads all weights once and they exceed the fast caches.
#include "random_walk.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "vectorize.h"

namespace icd {
namespace {

constexpr int64_t block = 16;  // columns at once, at most; rows are padded to a multiple

// The padded grid; at() gives the place of a pixel.
struct Grid {
    int64_t height, width, reach, stride, size;

    Grid(int64_t height, int64_t width, int64_t reach)
        : height(height), width(width), reach(reach), stride((width + block - 1) / block * block + 2 * reach),
          size((height + 2 * reach) * stride) {}
    int64_t at(int64_t y, int64_t x) const { return (y + reach) * stride + x + reach; }
};

// What the steps share. A jump is the way to the partner of an offset, in scores or in weights.
struct Stencil {
    Grid grid;
    int64_t directions;
    std::vector<int64_t> jumps, weight_jumps;
    std::vector<float> weights;  // [padded rows][directions][stride]
    std::vector<float> inverse;  // [size]: 1 / s, 0 in the padding

    Stencil(const Grid& grid, const int32_t* offsets, int64_t directions)
        : grid(grid), directions(directions), weights(directions * grid.size), inverse(grid.size) {
        for (int64_t d = 0; d < directions; ++d) {
            const int64_t dy = offsets[2 * d], dx = offsets[2 * d + 1];
            jumps.push_back(dy * grid.stride + dx);
            weight_jumps.push_back(dy * directions * grid.stride + dx);
        }
    }
    int64_t weight_at(int64_t y, int64_t x) const { return (y + grid.reach) * directions * grid.stride + x + grid.reach; }
};

double power(double base, double exponent) {
    if (exponent != std::floor(exponent) || exponent > 1024) return std::pow(base, exponent);
    double result = 1.0;
    for (unsigned rest = static_cast<unsigned>(exponent); rest; rest >>= 1, base *= base)
        if (rest & 1) result *= base;
    return result;
}

Stencil build_stencil(const float* affinities, const int32_t* offsets, const WalkShape& shape, double beta,
                      int threads) {
    int64_t reach = 0;
    for (int64_t i = 0; i < 2 * shape.directions; ++i) reach = std::max<int64_t>(reach, std::abs(offsets[i]));
    const Grid grid(shape.height, shape.width, reach);
    Stencil stencil(grid, offsets, shape.directions);
    parallel_for(shape.directions, threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t d = begin; d < end; ++d) {
            const int64_t dy = offsets[2 * d], dx = offsets[2 * d + 1];
            const int64_t top = std::max<int64_t>(0, -dy), bottom = grid.height - std::max<int64_t>(0, dy);
            const int64_t left = std::max<int64_t>(0, -dx), right = grid.width - std::max<int64_t>(0, dx);
            for (int64_t y = top; y < bottom; ++y) {
                const float* from = affinities + (d * grid.height + y) * grid.width;
                float* to = stencil.weights.data() + stencil.weight_at(y, 0) + d * grid.stride;
                for (int64_t x = left; x < right; ++x) to[x] = static_cast<float>(power(from[x], beta));
            }
        }
    });
    parallel_for(grid.height, threads, 8, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y)
            for (int64_t x = 0; x < grid.width; ++x) {
                const float* weights = stencil.weights.data() + stencil.weight_at(y, x);
                double sum = 1.0;
                for (int64_t d = 0; d < shape.directions; ++d, weights += grid.stride)
                    sum += static_cast<double>(weights[0]) + static_cast<double>(weights[-stencil.weight_jumps[d]]);
                stencil.inverse[grid.at(y, x)] = static_cast<float>(1.0 / sum);
            }
    });
    return stencil;
}

// One step of `planes` successive planes for the rows begin..end; `count` vectors of `length` columns at once.
template <int length, int planes, int count>
ICD_INLINE void step_rows(const Stencil& stencil, const float* from, float* to, int64_t begin, int64_t end) {
    using Vector = Floats<length>;
    static_assert(block % (length * count) == 0, "rows are padded to whole blocks");
    const Grid& grid = stencil.grid;
    const int64_t size = grid.size, directions = stencil.directions, stride = grid.stride;
    for (int64_t y = begin; y < end; ++y)
        for (int64_t x = 0; x < grid.width; x += length * count) {
            const int64_t place = grid.at(y, x);
            const float* weights = stencil.weights.data() + stencil.weight_at(y, x);
            Vector centre[planes * count], sum[planes * count], inverse, here, there, weight, back_weight;
#pragma GCC unroll 16
            for (int i = 0; i < planes * count; ++i) {
                load<length>(from + place + i / count * size + i % count * length, centre[i]);
                sum[i] = Vector{};
            }
            for (int64_t d = 0; d < directions; ++d, weights += stride) {
                const float* ahead = from + place + stencil.jumps[d];
                const float* behind = from + place - stencil.jumps[d];
                const float* back_weights = weights - stencil.weight_jumps[d];
                ICD_PREFETCH(weights + directions * stride);
#pragma GCC unroll 16
                for (int i = 0; i < planes * count; ++i) {
                    const int64_t shift = i / count * size + i % count * length;
                    load<length>(weights + i % count * length, weight);
                    load<length>(back_weights + i % count * length, back_weight);
                    load<length>(ahead + shift, here);
                    load<length>(behind + shift, there);
                    sum[i] += weight * (here - centre[i]) + back_weight * (there - centre[i]);
                }
            }
#pragma GCC unroll 16
            for (int i = 0; i < planes * count; ++i) {
                load<length>(stencil.inverse.data() + place + i % count * length, inverse);
                store<length>(centre[i] + sum[i] * inverse, to + place + i / count * size + i % count * length);
            }
        }
}

template <int length>
ICD_INLINE void step_planes(const Stencil& stencil, const float* from, float* to, int64_t planes, int64_t begin,
                            int64_t end) {
    const int64_t size = stencil.grid.size;
    for (; planes >= 4; planes -= 4, from += 4 * size, to += 4 * size)
        step_rows<length, 4, 1>(stencil, from, to, begin, end);
    if (planes == 3) step_rows<length, 3, 1>(stencil, from, to, begin, end);
    if (planes == 2) step_rows<length, 2, 2>(stencil, from, to, begin, end);
    if (planes == 1) step_rows<length, 1, 2>(stencil, from, to, begin, end);
}

void step_baseline(const Stencil& stencil, const float* from, float* to, int64_t planes, int64_t begin, int64_t end) {
    step_planes<4>(stencil, from, to, planes, begin, end);
}

ICD_AVX2 void step_avx2(const Stencil& stencil, const float* from, float* to, int64_t planes, int64_t begin,
                        int64_t end) {
    step_planes<8>(stencil, from, to, planes, begin, end);
}

}  // namespace

void random_walk(const float* scores, const float* affinities, const int32_t* offsets, const WalkShape& shape,
                 double beta, int64_t steps, int threads, float* walked) {
    const Stencil stencil = build_stencil(affinities, offsets, shape, beta, threads);
    const Grid& grid = stencil.grid;
    std::vector<float> state(2 * shape.planes * grid.size);
    float* const halves[2] = {state.data(), state.data() + shape.planes * grid.size};
    for (int64_t plane = 0; plane < shape.planes; ++plane)
        for (int64_t y = 0; y < grid.height; ++y)
            std::copy_n(scores + (plane * grid.height + y) * grid.width, grid.width,
                        halves[0] + plane * grid.size + grid.at(y, 0));

    const auto step = use_avx2() ? step_avx2 : step_baseline;
    const int most = static_cast<int>(std::min<int64_t>(threads, grid.height));
    const int workers = useful_threads(grid.height * grid.width, most, 1024);
    run_together(workers, [&](const Member& member) {
        for (int64_t i = 0; i < steps; ++i)
            member.share(grid.height, [&](int64_t begin, int64_t end) {
                step(stencil, halves[i % 2], halves[(i + 1) % 2], shape.planes, begin, end);
            });
    });
    for (int64_t plane = 0; plane < shape.planes; ++plane)
        for (int64_t y = 0; y < grid.height; ++y)
            std::copy_n(halves[steps % 2] + plane * grid.size + grid.at(y, 0), grid.width,
                        walked + (plane * grid.height + y) * grid.width);
}

}  // namespace icd
