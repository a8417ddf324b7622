-- LuaJIT cannot compile calls of Envoy's functions: it begins, gives up and begins elsewhere, which takes up to a tenth
-- of what Envoy needs for a short answer. So nothing of this program is compiled but what reads long texts, which says
-- so after its functions.
jit.off(true, true)
