# PHALANX_CUDA: the part of the program that runs on GPUs. Headers and libraries come from the CUDA toolkit that nvcc belongs
# to, and what the toolkit does not have from the NVIDIA wheels that scripts/cuda_wheels.sh unpacks into third_party/nvidia,
# in the folders where libtorch_cuda.so looks by itself. There are no .cu files yet, so the CUDA language is not enabled.
#
# Adds to the target `libtorch`: libtorch_cuda, libc10_cuda, libcudart, libnccl, and where all that they need lies.
find_package(CUDAToolkit 13.0 REQUIRED)
set(cuda_wheels "${PHALANX_THIRD_PARTY}/nvidia")
set(cuda_lib_folders "${CUDAToolkit_LIBRARY_DIR}" "${cuda_wheels}/cu13/lib" "${cuda_wheels}/nccl/lib"
  "${cuda_wheels}/cudnn/lib" "${cuda_wheels}/cusparselt/lib" "${cuda_wheels}/nvshmem/lib")

# The libraries that libtorch_cuda.so of torch 2.11 names, by these versions.
set(cuda_missing "")
foreach(file libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcufft.so.12 libcurand.so.10 libcusparse.so.12
             libnvJitLink.so.13 libcudnn.so.9 libnccl.so.2 libcusparseLt.so.0 libnvshmem_host.so.3 libcufile.so.0)
  find_file(PHALANX_FOUND_${file} ${file} PATHS ${cuda_lib_folders} /usr/lib/x86_64-linux-gnu NO_DEFAULT_PATH)
  if(NOT PHALANX_FOUND_${file})
    list(APPEND cuda_missing ${file})
  else()
    cmake_path(GET PHALANX_FOUND_${file} PARENT_PATH folder)
    list(APPEND cuda_used_folders "${folder}")
  endif()
endforeach()
find_path(PHALANX_NCCL_INCLUDE nccl.h
  PATHS ${CUDAToolkit_INCLUDE_DIRS} "${cuda_wheels}/nccl/include" /usr/include /usr/local/include NO_DEFAULT_PATH)
if(NOT PHALANX_NCCL_INCLUDE)
  list(APPEND cuda_missing nccl.h)
endif()
if(cuda_missing)
  list(JOIN cuda_missing ", " cuda_missing)
  message(FATAL_ERROR "The CUDA part cannot be built: ${cuda_missing} found neither in ${CUDAToolkit_LIBRARY_DIR} nor in "
    "${cuda_wheels}. Run scripts/cuda_wheels.sh, which fetches NVIDIA's wheels of what is missing, or build another preset.")
endif()
file(STRINGS "${PHALANX_NCCL_INCLUDE}/nccl.h" nccl_version REGEX "^#define NCCL_VERSION_CODE [0-9]+")
string(REGEX MATCH "[0-9]+$" nccl_version "${nccl_version}")
if(nccl_version LESS 22800)
  message(FATAL_ERROR "${PHALANX_NCCL_INCLUDE}/nccl.h is NCCL ${nccl_version}; torch 2.11 needs 2.28 (22800) or later. Remove "
    "it from the toolkit, or run scripts/cuda_wheels.sh --all.")
endif()
list(REMOVE_DUPLICATES cuda_used_folders)
message(STATUS "CUDA ${CUDAToolkit_VERSION} in ${CUDAToolkit_LIBRARY_DIR}, NCCL ${nccl_version} in ${PHALANX_NCCL_INCLUDE}")

target_include_directories(libtorch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} "${PHALANX_NCCL_INCLUDE}")
target_compile_definitions(libtorch INTERFACE PHALANX_CUDA=1)
# libtorch_cuda registers its kernels when it is loaded: the linker must keep it although nothing names it.
target_link_libraries(libtorch INTERFACE
  "-Wl,--no-as-needed" "${torch_lib}/libtorch_cuda.so" "-Wl,--as-needed" "${torch_lib}/libc10_cuda.so"
  "${PHALANX_FOUND_libcudart.so.13}" "${PHALANX_FOUND_libnccl.so.2}")
# DT_RPATH: libtorch_cuda.so searches the folders of the program that loads it after its own.
target_link_options(libtorch INTERFACE "LINKER:--disable-new-dtags")
foreach(folder ${cuda_used_folders})
  target_link_options(libtorch INTERFACE "LINKER:-rpath,${folder}" "LINKER:-rpath-link,${folder}")
endforeach()
