--[[
A burst buffer for Slurm's burst_buffer/lua plugin: a file system for each job, on storage that its nodes do not have.

Slurm makes it before the job has nodes, copies in, runs the job with its address, copies out and removes it. A batch script
asks for it by

  #BB_LUA pfs file_servers=4
  #BB_LUA pfs stage_in source=/data/mesh destination=pfs:/mesh
  #BB_LUA pfs stage_out source=pfs:/result destination=/data/result

The servers run on the host of slurmctld, or wherever PFS_BB_LAUNCH starts them (see `pfs start --nodefile`). To use it put
this file beside slurm.conf, `BurstBufferType=burst_buffer/lua` into slurm.conf, and what differs into burst_buffer.conf's
environment of slurmctld:

  PFS_BIN          the pfs program
  PFS_BB_DIR       a folder for the clusters' own directories, which the job's nodes see too
  PFS_BB_LISTEN    the address at which servers listen and nodes reach them
  PFS_BB_NODES     a file with names of storage nodes, and PFS_BB_NODE_DIR, a folder of theirs; nothing: this host
]]

local PFS = os.getenv("PFS_BIN") or "pfs"
local DIR = os.getenv("PFS_BB_DIR") or "/var/lib/pfs-bb"
local LISTEN = os.getenv("PFS_BB_LISTEN") or "127.0.0.1"
local NODES, NODE_DIR = os.getenv("PFS_BB_NODES"), os.getenv("PFS_BB_NODE_DIR")

-- A word of a shell.
local function quoted(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function directory(job_id)
  return DIR .. "/job-" .. string.format("%d", job_id)
end

-- Descriptors of Slurm's own would stay open in servers that are started, and Slurm waits for their end.
local CLOSE_OTHERS = "for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -le 2 ] || eval \"exec $fd>&-\"; done 2>/dev/null; "

-- Runs a command; what it says is what the job's owner is told if it fails.
local function run(command)
  local pipe = io.popen("exec bash -c " .. quoted(CLOSE_OTHERS .. "{ " .. command .. "; } 2>&1 && echo done"))
  local output = pipe:read("*a")
  pipe:close()
  if output:match("done%s*$") then
    return slurm.SUCCESS, output
  end
  slurm.log_error("pfs burst buffer: %s: %s", command, output)
  return slurm.ERROR, output
end

-- The lines of a script that are for this buffer, as {action, settings}.
local function requests(script)
  local file = io.open(script, "r")
  if file == nil then
    return nil, "the job script " .. script .. " can not be read"
  end
  local found = {}
  for line in file:lines() do
    local words = line:match("^#BB_LUA%s+pfs%s*(.*)$")
    if words then
      local request = { action = "create" }
      for word in words:gmatch("%S+") do
        local name, value = word:match("^([%w_]+)=(.+)$")
        if name then
          request[name] = value
        elseif word == "stage_in" or word == "stage_out" then
          request.action = word
        else
          file:close()
          return nil, "#BB_LUA pfs: " .. word .. " is neither stage_in, stage_out nor a setting"
        end
      end
      found[#found + 1] = request
    end
  end
  file:close()
  return found
end

-- The copies that a script asks for.
local function copies(job_id, script, action)
  local found, problem = requests(script)
  if found == nil then
    return slurm.ERROR, problem
  end
  for _, request in ipairs(found) do
    if request.action == action then
      local result, said = run(". " .. quoted(directory(job_id) .. "/env") .. " && " .. quoted(PFS) .. " cp --recursive --quiet "
        .. quoted(request.source) .. " " .. quoted(request.destination))
      if result ~= slurm.SUCCESS then
        return result, said
      end
    end
  end
  return slurm.SUCCESS
end

-- Before the job is taken: is what it asks for possible at all?
function slurm_bb_job_process(script)
  local found, problem = requests(script)
  if found == nil then
    return slurm.ERROR, problem
  end
  local created = 0
  for _, request in ipairs(found) do
    if request.action == "create" then
      created = created + 1
    elseif request.source == nil or request.destination == nil then
      return slurm.ERROR, "#BB_LUA pfs " .. request.action .. " needs source= and destination="
    end
  end
  if created ~= 1 then
    return slurm.ERROR, "one line #BB_LUA pfs makes the buffer; there are " .. created
  end
  return slurm.SUCCESS
end

function slurm_bb_pools()
  return slurm.SUCCESS
end

-- When the job may soon run: make the file system, and copy in.
function slurm_bb_setup(job_id, uid, gid, pool, bb_size, script)
  local found, problem = requests(script)
  if found == nil then
    return slurm.ERROR, problem
  end
  local servers = 1
  for _, request in ipairs(found) do
    servers = request.file_servers or servers
  end
  local start = quoted(PFS) .. " start --dir " .. quoted(directory(job_id)) .. " --file-servers " .. quoted(servers)
    .. " --listen " .. quoted(LISTEN)
  if NODES ~= nil then
    start = start .. " --ephemeral --nodefile " .. quoted(NODES) .. " --node-dir " .. quoted(NODE_DIR .. "/job-" .. job_id)
  end
  -- The job reads the secret; the folder is its owner's from now on.
  return run(start .. " > /dev/null && chown -R " .. quoted(uid .. ":" .. gid) .. " " .. quoted(directory(job_id)))
end

function slurm_bb_data_in(job_id, script)
  return copies(job_id, script, "stage_in")
end

-- What the job finds in its environment.
function slurm_bb_paths(job_id, script, path_file)
  return run("sed -n \"s/^export \\(PFS_[A-Z_]*\\)='\\(.*\\)'$/\\1=\\2/p\" " .. quoted(directory(job_id) .. "/env") .. " > " .. quoted(path_file))
end

function slurm_bb_pre_run(job_id, script)
  return slurm.SUCCESS
end

function slurm_bb_test_data_in(job_id, script)
  return slurm.SUCCESS
end

function slurm_bb_real_size(job_id)
  return slurm.SUCCESS, "0"
end

function slurm_bb_post_run(job_id, script)
  return slurm.SUCCESS
end

function slurm_bb_test_data_out(job_id, script)
  return slurm.SUCCESS
end

function slurm_bb_data_out(job_id, script)
  return copies(job_id, script, "stage_out")
end

-- However the job ended, and also when it never ran.
function slurm_bb_job_teardown(job_id, script, hurry)
  return run(quoted(PFS) .. " stop --remove --dir " .. quoted(directory(job_id)))
end

function slurm_bb_get_status(...)
  return slurm.SUCCESS, "pfs burst buffers are in " .. DIR
end
