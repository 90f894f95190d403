// The bytes of the static init, carried inside the addon: launch copies them into a sealed memfd.
// HOLDFAST_INIT_IMAGE is the path of the built init, given by the build.
    .section .rodata.holdfast_init_image, "a", %progbits
    .balign 4096
    .hidden holdfast_init_image_start
    .globl holdfast_init_image_start
    .type holdfast_init_image_start, %object
holdfast_init_image_start:
    .incbin HOLDFAST_INIT_IMAGE
    .hidden holdfast_init_image_end
    .globl holdfast_init_image_end
    .type holdfast_init_image_end, %object
holdfast_init_image_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
