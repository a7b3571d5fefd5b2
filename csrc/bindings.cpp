// The Python module icd._native: numpy arrays in and out, one thin function per kernel. It checks what a kernel needs to
// stay inside its arrays; the functions of icd.refine say in words what is wrong with a user's input.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "dense_crf.h"
#include "parallel.h"
#include "path_affinity.h"
#include "random_walk.h"
#include "region_merging.h"
#include "region_pooling.h"
#include "region_sketch.h"
#include "superpixel.h"

namespace py = pybind11;

namespace {

// What every kernel takes: contiguous and aligned for its type. Anything else, such as a view into a buffer at an odd byte, is
// copied here before a kernel sees it.
template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast | py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

void need(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

py::array_t<int32_t> segment(const Array<uint8_t>& image, float k, float sigma, int64_t min_size) {
    need(image.ndim() == 3 && image.shape(2) == 3, "image: shape (H, W, 3)");
    const int64_t height = image.shape(0), width = image.shape(1);
    need(height * width <= superpixel::max_pixels, "image: too many pixels");
    need(k >= 0 && sigma >= 0 && sigma <= 1000, "k >= 0, 0 <= sigma <= 1000");
    py::array_t<int32_t> labels({height, width});
    const uint8_t* rgb = image.data();
    int32_t* out = labels.mutable_data();
    py::gil_scoped_release release;
    superpixel::segment(rgb, height, width, {k, sigma, min_size}, out);
    return labels;
}

void need_ids(const Array<int32_t>& ids, int64_t count) {
    need(count >= 0 && count <= std::numeric_limits<int32_t>::max(), "regions: too many");
    const int32_t *id = ids.data(), past = static_cast<int32_t>(count);
    int32_t outside = 0;  // negative where an id is; an id that is not negative cannot overflow the difference
    for (const int32_t* const end = id + ids.size(); id < end; ++id) outside |= *id | ~(std::max(*id, 0) - past);
    need(outside >= 0, "regions: id out of range");
}

py::array_t<float> pool_regions(const Array<float>& features, const Array<int32_t>& regions, int64_t count,
                                int64_t frame, int threads) {
    need(features.ndim() == 3 && regions.ndim() == 2 && features.size() > 0, "features (C, h, w), regions (H, W)");
    const icd::PoolingShape shape{features.shape(0), features.shape(1), features.shape(2), regions.shape(0),
                                  regions.shape(1),  count,             frame};
    need(shape.height <= frame && shape.width <= frame, "regions: larger than the frame");
    need_ids(regions, count);
    py::array_t<float> pooled({count, shape.channels});
    const float* from = features.data();
    const int32_t* ids = regions.data();
    float* out = pooled.mutable_data();
    py::gil_scoped_release release;
    icd::pool_regions(from, ids, shape, icd::thread_count(threads), out);
    return pooled;
}

py::array_t<int64_t> region_sizes(const Array<int32_t>& regions, int64_t count) {
    need_ids(regions, count);
    py::array_t<int64_t> sizes(count);
    const int32_t* ids = regions.data();
    int64_t *out = sizes.mutable_data(), pixels = regions.size();
    py::gil_scoped_release release;
    icd::region_sizes(ids, pixels, count, out);
    return sizes;
}

py::array_t<int32_t> merge_regions(const Array<float>& features, const Array<int64_t>& sizes, const Array<int32_t>& regions,
                                   int64_t limit, int threads) {
    need(features.ndim() == 2 && sizes.ndim() == 1 && sizes.shape(0) == features.shape(0), "features (K, C), sizes (K)");
    need(features.shape(1) <= icd::Sketches::most_channels, "features: too many channels");
    need(regions.ndim() == 2 && limit >= 1, "regions (H, W), limit >= 1");
    const int64_t count = features.shape(0), channels = features.shape(1), pixels = regions.size();
    need_ids(regions, count);
    py::array_t<int32_t> merged({regions.shape(0), regions.shape(1)});
    const float* from = features.data();
    const int64_t* areas = sizes.data();
    const int32_t* ids = regions.data();
    int32_t* out = merged.mutable_data();
    py::gil_scoped_release release;
    std::vector<int32_t> numbers(count);
    icd::merge_regions(from, areas, count, channels, static_cast<double>(pixels), limit, icd::thread_count(threads),
                       numbers.data());
    for (int64_t i = 0; i < pixels; ++i) out[i] = numbers[ids[i]];
    return merged;
}

py::array_t<float> dense_crf(const Array<uint8_t>& image, const Array<float>& unary, float gaussian_sxy,
                             float gaussian_compat, float bilateral_sxy, float bilateral_srgb, float bilateral_compat,
                             int iterations, int threads) {
    need(image.ndim() == 3 && unary.ndim() == 3 && image.shape(2) == 3, "image (H, W, 3), unary (L, H, W)");
    need(image.shape(0) == unary.shape(1) && image.shape(1) == unary.shape(2), "image and unary differ in size");
    need(unary.size() > 0 && image.size() < int64_t{1} << 30, "image: empty or too large");
    need(gaussian_sxy > 0 && bilateral_sxy > 0 && bilateral_srgb > 0, "standard deviations > 0");
    const icd::CrfShape shape{unary.shape(0), unary.shape(1), unary.shape(2)};
    const icd::CrfKernels kernels{gaussian_sxy, gaussian_compat, bilateral_sxy, bilateral_srgb, bilateral_compat};
    py::array_t<float> marginals({shape.labels, shape.height, shape.width});
    const uint8_t* rgb = image.data();
    const float* energies = unary.data();
    float* out = marginals.mutable_data();
    py::gil_scoped_release release;
    icd::dense_crf(rgb, energies, shape, kernels, iterations, icd::thread_count(threads), out);
    return marginals;
}

py::array_t<float> random_walk(const Array<float>& scores, const Array<float>& affinities,
                               const Array<int32_t>& offsets, double beta, int64_t steps, int threads) {
    need(scores.ndim() == 3 && affinities.ndim() == 3 && offsets.ndim() == 2, "scores, affinities: 3 axes, offsets: 2");
    need(offsets.shape(0) == affinities.shape(0) && offsets.shape(1) == 2, "offsets: one (dy, dx) for each plane");
    need(scores.shape(1) == affinities.shape(1) && scores.shape(2) == affinities.shape(2), "grids differ in size");
    need(scores.size() > 0 && beta > 0 && steps >= 0, "scores not empty, beta > 0, steps >= 0");
    for (int64_t i = 0; i < offsets.size(); ++i) need(std::abs(int64_t{offsets.data()[i]}) <= 64, "offsets: at most 64");
    const icd::WalkShape shape{scores.shape(0), scores.shape(1), scores.shape(2), offsets.shape(0)};
    py::array_t<float> walked({shape.planes, shape.height, shape.width});
    const float *from = scores.data(), *pairs = affinities.data();
    const int32_t* jumps = offsets.data();
    float* out = walked.mutable_data();
    py::gil_scoped_release release;
    icd::random_walk(from, pairs, jumps, shape, beta, steps, icd::thread_count(threads), out);
    return walked;
}

py::array_t<float> path_affinities(const Array<float>& boundary, const Array<int32_t>& points,
                                   const Array<int64_t>& path_start, int64_t floor, int threads) {
    need(boundary.ndim() == 2 && points.ndim() == 2 && points.shape(1) == 2, "boundary (h, w), points (P, 2)");
    need(path_start.ndim() == 1 && path_start.shape(0) >= 2, "path_start: one more than paths");
    const icd::PathShape shape{boundary.shape(0), boundary.shape(1), floor, path_start.shape(0) - 1};
    need(floor >= 0 && shape.height > floor && shape.width > 2 * floor, "boundary: too small for the paths");
    for (int64_t i = 0; i < points.shape(0); ++i)
        need(points.at(i, 0) >= 0 && points.at(i, 0) <= floor && std::abs(points.at(i, 1)) <= floor,
             "points: farther than the floor");
    for (int64_t i = 0; i < shape.directions; ++i) need(path_start.at(i) < path_start.at(i + 1), "path_start: ascending");
    need(path_start.at(0) == 0 && path_start.at(shape.directions) == points.shape(0), "path_start: 0 to P");
    py::array_t<float> affinities({shape.directions, shape.height - floor, shape.width - 2 * floor});
    const float* from = boundary.data();
    const int32_t* path_points = points.data();
    const int64_t* starts = path_start.data();
    float* out = affinities.mutable_data();
    py::gil_scoped_release release;
    icd::path_affinities(from, path_points, starts, shape, icd::thread_count(threads), out);
    return affinities;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    using py::literals::operator""_a;
    module.doc() = "Native kernels; use them through icd.refine.";
    module.def("segment", &segment, "image"_a, "k"_a, "sigma"_a, "min_size"_a);
    module.def("pool_regions", &pool_regions, "features"_a, "regions"_a, "count"_a, "frame"_a, "threads"_a);
    module.def("region_sizes", &region_sizes, "regions"_a, "count"_a);
    module.def("merge_regions", &merge_regions, "features"_a, "sizes"_a, "regions"_a, "limit"_a, "threads"_a);
    module.def("dense_crf", &dense_crf, "image"_a, "unary"_a, "gaussian_sxy"_a, "gaussian_compat"_a, "bilateral_sxy"_a,
               "bilateral_srgb"_a, "bilateral_compat"_a, "iterations"_a, "threads"_a);
    module.def("random_walk", &random_walk, "scores"_a, "affinities"_a, "offsets"_a, "beta"_a, "steps"_a, "threads"_a);
    module.def("path_affinities", &path_affinities, "boundary"_a, "points"_a, "path_start"_a, "floor"_a, "threads"_a);
}
