/* What the files of this folder share. See `__init__.py` for what it is about. */
#ifndef CAPNET_NATIVE_CORE_H
#define CAPNET_NATIVE_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#if defined(PYPY_VERSION)
#error "capnet.native looks into CPython's objects"
#endif

#if defined(Py_GIL_DISABLED)
#error "capnet.native counts on the global interpreter lock"
#endif

/* Raised whenever pure code and C change together: a core that was built from other sources is left alone. */
#define EDITION 2

/* The same figures as in `capnet/wire` and `capnet/limits.py`; `tests/native` compares what both make of every frame. */
#define MAX_ID (INT64_C(1) << 53)
#define TAG_CAP 52411
#define TAG_ANSWER 52412
#define TAG_STREAM 52413
#define BYTES_PER_VALUE 120
#define BYTES_PER_CAP 500
#define BYTES_PER_STREAM 4000
#define LONG_BYTES (64 * 1024)
#define FIRST_ITEMS 8
#define FRAME_ITEMS 64
#define MAX_NAME_BYTES 256
#define MAX_CONTEXT_KEYS 16
#define MAX_CONTEXT_BYTES 8192

/* Containers in each other that are walked here. More is for the pure code, whatever the limits say: so the stack that
   a peer can have us take is bounded. */
#define DEEPEST 256

/* How all functions of this folder speak: NULL, or less than 0, with an exception set is an error; without one it means
   "not known here", and the pure code is asked. Nothing is refused in C: what would be is not known. */
#define UNKNOWN (-1)

/* What was bound: the pure code to fall back on, and the classes of references. Strong references, for ever. */
struct bound {
    PyObject *codec, *check, *is_plain, *measured, *holds_long, *sole, *cut;
    PyObject *cap, *answer, *stream;
};
extern struct bound bound;

/* Names, made once. */
struct names {
    PyObject *id, *interface, *version, *path, *direction, *window;
    PyObject *values, *charge, *decode, *encode, *encode_pieces;
    PyObject *limit, *used, *close;
    PyObject *max_depth, *max_items, *max_references, *max_name_bytes;
};
extern struct names names;

typedef struct {
    Py_ssize_t max_items, max_references, max_name_bytes;
    int max_depth;
    Py_ssize_t values, charge; /* of the last frame */
} Bounds;

extern PyTypeObject *codec_type;
int add_codec(PyObject *module);
int add_cut(void);

/* The frame in these bytes, with its references: a tuple of two. */
PyObject *decode_frame(const unsigned char *data, Py_ssize_t size, Bounds *bounds);
/* The bytes of a value. */
PyObject *encode_value(PyObject *value);

PyObject *check(PyObject *module, PyObject *frame);
PyObject *is_plain(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *measured(PyObject *module, PyObject *value);
PyObject *holds_long(PyObject *module, PyObject *frame);
PyObject *sole(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *cut(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

/* An attribute that is a number, 0 if that is negative, and `most` if it is more; less than 0 with an exception if it is
   none. */
Py_ssize_t number_of(PyObject *object, PyObject *name, Py_ssize_t most);

/* What a text that is not ASCII takes beyond its bytes, as `charge.width` has it. */
static inline Py_ssize_t width(PyObject *text)
{
    Py_ssize_t kept = ((PyCompactUnicodeObject *)text)->utf8_length;
    if (((PyCompactUnicodeObject *)text)->utf8 != NULL)
        kept += 1;
    return 16 + (PyUnicode_GET_LENGTH(text) + 1) * (Py_ssize_t)PyUnicode_KIND(text) + kept;
}

/* Whether a text is one whose insides are known here; all are, but for some that only old C code makes. */
static inline int is_text(PyObject *value)
{
    return PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT(value);
}

/* Whether it is an integer, no boolean, between the two, both included. */
static inline int is_number(PyObject *value, int64_t least, int64_t most)
{
    if (!PyLong_CheckExact(value))
        return 0;
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return !overflow && least <= number && number <= most;
}

/* Whether a text is a name of ASCII characters that can all be printed; others are for the pure code. */
static inline int is_ascii_name(PyObject *text, Py_ssize_t max_bytes)
{
    if (!is_text(text) || !PyUnicode_IS_ASCII(text))
        return 0;
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (length == 0 || length > max_bytes)
        return 0;
    const unsigned char *letters = PyUnicode_DATA(text);
    for (Py_ssize_t at = 0; at < length; at++) {
        if (letters[at] < 0x20 || letters[at] > 0x7e)
            return 0;
    }
    return 1;
}

#endif
