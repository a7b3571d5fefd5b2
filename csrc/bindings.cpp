// The Python module icd._native: numpy arrays in and out, one thin function per kernel. It checks what a kernel needs to
// stay inside its arrays; the functions of icd.refine say in words what is wrong with a user's input.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>

#include "dense_crf.h"
#include "parallel.h"
#include "region_merging.h"
#include "region_pooling.h"
#include "superpixel.h"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

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
    for (int64_t i = 0; i < ids.size(); ++i) need(ids.data()[i] >= 0 && ids.data()[i] < count, "regions: id out of range");
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

py::array_t<int32_t> merge_regions(const Array<float>& features, const Array<int64_t>& sizes, double area, int64_t limit,
                                   int threads) {
    need(features.ndim() == 2 && sizes.ndim() == 1 && sizes.shape(0) == features.shape(0), "features (K, C), sizes (K)");
    need(limit >= 1, "limit >= 1");
    const int64_t regions = features.shape(0), channels = features.shape(1);
    py::array_t<int32_t> numbers(regions);
    const float* from = features.data();
    const int64_t* pixels = sizes.data();
    int32_t* out = numbers.mutable_data();
    py::gil_scoped_release release;
    icd::merge_regions(from, pixels, regions, channels, area, limit, icd::thread_count(threads), out);
    return numbers;
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

}  // namespace

PYBIND11_MODULE(_native, module) {
    using py::literals::operator""_a;
    module.doc() = "Native kernels; use them through icd.refine.";
    module.def("segment", &segment, "image"_a, "k"_a, "sigma"_a, "min_size"_a);
    module.def("pool_regions", &pool_regions, "features"_a, "regions"_a, "count"_a, "frame"_a, "threads"_a);
    module.def("merge_regions", &merge_regions, "features"_a, "sizes"_a, "area"_a, "limit"_a, "threads"_a);
    module.def("dense_crf", &dense_crf, "image"_a, "unary"_a, "gaussian_sxy"_a, "gaussian_compat"_a, "bilateral_sxy"_a,
               "bilateral_srgb"_a, "bilateral_compat"_a, "iterations"_a, "threads"_a);
}
