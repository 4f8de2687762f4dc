/* `Codec` of capnet/wire/codec.py: what is known here is done here, all else by a pure one that is made when it is
   needed first, by most connections never. */
#include "core.h"
#include <structmember.h>

typedef struct {
    PyObject_HEAD
    PyObject *limits;
    PyObject *pure; /* or NULL */
    Bounds bounds;
} Codec;

PyTypeObject *codec_type;

Py_ssize_t number_of(PyObject *object, PyObject *name, Py_ssize_t most)
{
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL)
        return -1;
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    Py_DECREF(value);
    if (overflow > 0 || number > most)
        return most;
    if (PyErr_Occurred())
        return -1;
    return overflow < 0 || number < 0 ? 0 : (Py_ssize_t)number;
}

static PyObject *codec_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *known[] = {"limits", NULL};
    PyObject *limits;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O:Codec", known, &limits))
        return NULL;
    Py_ssize_t depth = number_of(limits, names.max_depth, DEEPEST);
    Py_ssize_t items = depth < 0 ? -1 : number_of(limits, names.max_items, PY_SSIZE_T_MAX);
    Py_ssize_t references = items < 0 ? -1 : number_of(limits, names.max_references, PY_SSIZE_T_MAX);
    Py_ssize_t name_bytes = references < 0 ? -1 : number_of(limits, names.max_name_bytes, PY_SSIZE_T_MAX);
    if (name_bytes < 0)
        return NULL;
    Codec *codec = (Codec *)type->tp_alloc(type, 0);
    if (codec != NULL) {
        codec->limits = Py_NewRef(limits);
        codec->bounds.max_depth = (int)depth;
        codec->bounds.max_items = items;
        codec->bounds.max_references = references;
        codec->bounds.max_name_bytes = name_bytes;
    }
    return (PyObject *)codec;
}

static int codec_traverse(Codec *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->limits);
    Py_VISIT(self->pure);
    return 0;
}

static int codec_clear(Codec *self)
{
    Py_CLEAR(self->limits);
    Py_CLEAR(self->pure);
    return 0;
}

static void codec_dealloc(Codec *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    codec_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *by_pure(Codec *self, PyObject *name, PyObject *argument)
{
    if (self->pure == NULL) {
        PyObject *pure = PyObject_CallOneArg(bound.codec, self->limits);
        if (pure == NULL)
            return NULL;
        Py_XSETREF(self->pure, pure);
    }
    PyObject *pure = Py_NewRef(self->pure);
    PyObject *found = PyObject_CallMethodOneArg(pure, name, argument);
    if (found != NULL && name == names.decode) {
        Py_ssize_t values = number_of(pure, names.values, PY_SSIZE_T_MAX);
        Py_ssize_t charge = values < 0 ? -1 : number_of(pure, names.charge, PY_SSIZE_T_MAX);
        if (charge < 0)
            Py_CLEAR(found);
        else {
            self->bounds.values = values;
            self->bounds.charge = charge;
        }
    }
    Py_DECREF(pure);
    return found;
}

static PyObject *codec_decode(Codec *self, PyObject *frame)
{
    if (PyBytes_CheckExact(frame)) {
        PyObject *found = decode_frame(
            (const unsigned char *)PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), &self->bounds
        );
        if (found != NULL || PyErr_Occurred())
            return found;
    }
    return by_pure(self, names.decode, frame);
}

static PyObject *codec_encode(Codec *self, PyObject *value)
{
    PyObject *bytes = encode_value(value);
    if (bytes != NULL || PyErr_Occurred())
        return bytes;
    return by_pure(self, names.encode, value);
}

static PyObject *codec_encode_pieces(Codec *self, PyObject *frame)
{
    return by_pure(self, names.encode_pieces, frame);
}

static PyMethodDef codec_methods[] = {
    {"decode", (PyCFunction)codec_decode, METH_O, "The frame in these bytes, and the references in it."},
    {"encode", (PyCFunction)codec_encode, METH_O, "The bytes of a frame, or of a value in one."},
    {"encode_pieces", (PyCFunction)codec_encode_pieces, METH_O, "The same, cut: long byte strings are no copies."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef codec_members[] = {
    {"values", T_PYSSIZET, offsetof(Codec, bounds.values), READONLY, "How many values the last frame held."},
    {"charge", T_PYSSIZET, offsetof(Codec, bounds.charge), READONLY, "What it takes up in memory."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot codec_slots[] = {
    {Py_tp_doc, "Encodes and decodes the frames of one connection."},
    {Py_tp_new, codec_new},
    {Py_tp_traverse, codec_traverse},
    {Py_tp_clear, codec_clear},
    {Py_tp_dealloc, codec_dealloc},
    {Py_tp_methods, codec_methods},
    {Py_tp_members, codec_members},
    {0, NULL},
};

static PyType_Spec codec_spec = {
    .name = "capnet.native.core.Codec",
    .basicsize = sizeof(Codec),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = codec_slots,
};

int add_codec(PyObject *module)
{
    codec_type = (PyTypeObject *)PyType_FromSpec(&codec_spec);
    return codec_type == NULL ? -1 : PyModule_AddObjectRef(module, "Codec", (PyObject *)codec_type);
}
