// A CUDA device for a PyTorch that was built without one: see tests/i3d_train/torch_on_cpu.py.
//
// Its memory is the host's, and PyTorch's kernels for the CPU do its arithmetic, on copies. What PyTorch itself knows of
// devices is as on a GPU: tensors of two devices do not meet, one of the GPU has no NumPy, autocast is that of CUDA.

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using at::IntArrayRef;
using at::Tensor;

const c10::Device kGpu(c10::DeviceType::CUDA, 0);
const c10::Stream kStream(c10::Stream::DEFAULT, kGpu);

// One GPU with one stream, on which all is done at once.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
    c10::Device getDevice() const override { return kGpu; }
    c10::Device exchangeDevice(c10::Device) const override { return kGpu; }
    c10::Stream getStream(c10::Device) const noexcept override { return kStream; }
    c10::Stream exchangeStream(c10::Stream) const noexcept override { return kStream; }
    void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
    void block(void*, const c10::Stream&) const override {}
    bool queryEvent(void*) const override { return true; }
    void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Hooks final : at::CUDAHooksInterface {
    explicit Hooks(at::CUDAHooksArgs) {}
    void init() const override {}
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasCUDA() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
    int getNumGPUs() const override { return 1; }
    c10::DeviceIndex deviceCount() const override { return 1; }
    c10::DeviceIndex current_device() const override { return 0; }
    c10::DeviceIndex getCurrentDevice() const override { return 0; }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
    void setCurrentDevice(c10::DeviceIndex) const override {}
    void deviceSynchronize(c10::DeviceIndex) const override {}
};
}  // namespace

namespace at {
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks)
}

namespace {

std::size_t held = 0, most_held = 0;  // bytes

struct Block {
    void* data;
    std::size_t size;
};

void give_back(void* context) {
    auto* block = static_cast<Block*>(context);
    held -= block->size;
    std::free(block->data);
    delete block;
}

struct Memory final : c10::Allocator {
    c10::DataPtr allocate(std::size_t size) override {
        void* data = size ? std::aligned_alloc(64, (size + 63) / 64 * 64) : nullptr;
        TORCH_CHECK(data || !size, "no memory");
        most_held = std::max(most_held, held += size);
        return {data, new Block{data, size}, &give_back, kGpu};
    }
    c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
    void copy_data(void* to, const void* from, std::size_t size) const override { std::memcpy(to, from, size); }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::CUDA, &memory)

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::CUDA);

at::ScalarType type_of(std::optional<at::ScalarType> dtype) {
    return dtype.value_or(c10::get_default_dtype_as_scalartype());
}

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<c10::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
    return at::detail::empty_generic(size, &memory, kKeys, type_of(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<c10::Device>, std::optional<bool>) {
    return at::detail::empty_strided_generic(size, stride, &memory, kKeys, type_of(dtype));
}

// The same memory as a tensor of the CPU.
Tensor on_cpu(const Tensor& tensor) {
    if (!tensor.is_cuda()) return tensor;
    const auto keep = [tensor](void*) {};
    return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), keep, tensor.options().device(at::kCPU));
}

Tensor& copy(Tensor& to, const Tensor& from, bool) {
    if (to.numel()) on_cpu(to).copy_(on_cpu(from));
    return to;
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
    on_cpu(to).copy_(on_cpu(from));
    return to;
}

const Tensor& resize_to(const Tensor& tensor, IntArrayRef size, std::optional<at::MemoryFormat> format) {
    c10::Storage storage = tensor.storage();
    const std::size_t bytes = (c10::multiply_integers(size) + tensor.storage_offset()) * tensor.itemsize();
    if (bytes > storage.nbytes()) {
        c10::DataPtr larger = memory.allocate(bytes);
        if (storage.nbytes()) std::memcpy(larger.get(), storage.data(), storage.nbytes());
        storage.set_data_ptr_noswap(std::move(larger));
        storage.set_nbytes(bytes);
    }
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous(size);
    if (format) tensor.unsafeGetTensorImpl()->empty_tensor_restride(*format);
    return tensor;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
    if (to.sizes() != from.sizes()) resize_to(to, from.sizes(), std::nullopt);
    return copy_from(from, to, false);
}

at::Scalar item(const Tensor& tensor) { return on_cpu(tensor).item(); }

Tensor& set_whole_storage(Tensor& tensor, c10::Storage storage) {
    const int64_t count = storage.nbytes() / tensor.itemsize(), step = 1;
    tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(count, step);
    return tensor;
}

// PyTorch's average pooling on a CPU knows no short floats, that of a GPU does.
Tensor avg_pool3d(const Tensor& x, IntArrayRef window, IntArrayRef stride, IntArrayRef padding, bool ceil,
                  bool count_padding, std::optional<int64_t> divisor) {
    const Tensor wide = on_cpu(x).to(at::kFloat);
    return at::avg_pool3d(wide, window, stride, padding, ceil, count_padding, divisor).to(x.options());
}

Tensor avg_pool3d_backward(const Tensor& gradient, const Tensor& x, IntArrayRef window, IntArrayRef stride,
                           IntArrayRef padding, bool ceil, bool count_padding, std::optional<int64_t> divisor) {
    const Tensor wide = on_cpu(gradient).to(at::kFloat), wide_x = on_cpu(x).to(at::kFloat);
    return at::avg_pool3d_backward(wide, wide_x, window, stride, padding, ceil, count_padding, divisor).to(x.options());
}

// PyTorch's fallback would take most tensors of the CPU among those of the GPU, where a GPU takes only single numbers.
void check(const Tensor& tensor, const std::string& name) {
    TORCH_CHECK(!tensor.defined() || tensor.is_cuda() || tensor.dim() == 0,
                "Expected all tensors to be on the same device, but ", name, " got one of the CPU among those of cuda:0");
}

void by_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
    const std::string& name = op.schema().name();
    const bool is_indexing = name.rfind("aten::index_put", 0) == 0 || name == "aten::_index_put_impl_";
    if (name != "aten::index" && !is_indexing) {  // whose indices may be on the CPU
        for (const c10::IValue& given : torch::jit::last(*stack, op.schema().arguments().size())) {
            if (given.isTensor()) check(given.toTensor(), name);
            if (given.isTensorList())
                for (const Tensor& tensor : given.toTensorVector()) check(tensor, name);
        }
    }
    at::native::cpu_fallback(op, stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&by_cpu>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
    library.impl("empty.memory_format", empty);
    library.impl("empty_strided", empty_strided);
    library.impl("copy_", copy);
    library.impl("_copy_from", copy_from);
    library.impl("_copy_from_and_resize", copy_from_and_resize);
    library.impl("resize_", resize_to);
    library.impl("_local_scalar_dense", item);
    library.impl("set_.source_Storage", set_whole_storage);
    library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
    library.impl("view", TORCH_FN(at::native::view));
    library.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
    library.impl("unfold", TORCH_FN(at::native::unfold));
    library.impl("avg_pool3d", avg_pool3d);
    library.impl("avg_pool3d_backward", avg_pool3d_backward);
    // else PyTorch would look for cuDNN
    library.impl("convolution", torch::CppFunction::makeFromBoxedFunction<&by_cpu>());
    library.impl("convolution_backward", torch::CppFunction::makeFromBoxedFunction<&by_cpu>());
}

extern "C" std::size_t gpu_most_held() { return most_held; }
