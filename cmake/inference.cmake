# llama.cpp's libraries, from the system or from the folder that `./dev setup` put them into where the
# system lacks them. That folder has a C library and a loader of its own, which the programs that are
# linked with it use, and no others (docs/decisions/0020-private-inference.md).
#
# Makes corpgrid_llama_library, for targets that go through corpgrid_hosts_models(). Without the
# libraries there is neither, and corpgrid-worker is not built.
set(private_inference ${CMAKE_SOURCE_DIR}/.deps/inference/usr)
set(private_libraries ${private_inference}/lib/${CMAKE_LIBRARY_ARCHITECTURE})
find_path(LLAMA_INCLUDE llama.h HINTS ${private_inference}/include)
find_library(LLAMA_LIBRARY llama HINTS ${private_libraries})
# Sanitizers and fuzzers bring a C library's worth of their own; what they check stands on floors
# that need no model.
if(NOT LLAMA_INCLUDE OR NOT LLAMA_LIBRARY OR CORPGRID_SANITIZE OR CORPGRID_FUZZ)
  return()
endif()

# A part of the floor inference/ of its own, because only such programs can be linked with it.
function(corpgrid_llama_floor)
  corpgrid_floor(inference/llama LIBRARIES corpgrid_inference corpgrid_llama_library)
  if(TARGET llama_test)
    corpgrid_hosts_models(llama_test)
    # Others test beside it: threads that spin while they wait would make it 30 times slower.
    set_property(TEST unit.llama APPEND PROPERTY ENVIRONMENT OMP_WAIT_POLICY=passive)
  endif()
endfunction()

get_filename_component(llama_folder ${LLAMA_LIBRARY} DIRECTORY)
add_library(corpgrid_llama_library INTERFACE)
target_include_directories(corpgrid_llama_library SYSTEM INTERFACE ${LLAMA_INCLUDE})
if(NOT llama_folder STREQUAL private_libraries)
  target_link_libraries(corpgrid_llama_library INTERFACE llama ggml ggml-base)
  target_compile_definitions(corpgrid_llama_library INTERFACE
                             CORPGRID_BACKENDS="${llama_folder}/ggml/backends0")
  function(corpgrid_hosts_models target)
    target_link_libraries(${target} PRIVATE corpgrid_llama_library)
  endfunction()
  return()
endif()

file(GLOB loader ${private_libraries}/ld-linux*.so.* ${private_libraries}/ld64.so.*)
target_compile_definitions(corpgrid_llama_library INTERFACE
                           CORPGRID_BACKENDS="${private_libraries}/ggml/backends0")
# libllama has a run path of its own, so the loader does not look into ours for what it needs: the
# program names all of that, and keeps it.
set(needed)
foreach(name libllama libggml libggml-base libstdc++ libm libgcc_s libgomp libssl libcrypto libz
        libzstd libvulkan)
  file(GLOB found ${private_libraries}/${name}.so.[0-9]*)
  list(SORT found)
  list(GET found 0 first)
  list(APPEND needed ${first})
endforeach()
function(corpgrid_hosts_models target)
  target_link_libraries(${target} PRIVATE corpgrid_llama_library)
  target_link_options(${target} PRIVATE
    -Wl,--no-as-needed ${needed} -Wl,--as-needed -Wl,--allow-shlib-undefined
    -Wl,--disable-new-dtags,-rpath,${private_libraries} -Wl,--dynamic-linker=${loader})
endfunction()
